"""What a supervisor hears of real services: ready when they work, alive while their loops turn, stopping at the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.healthcheck import look_at_heartbeat
from leadstream_cli.embedded import EmbeddedServer
from tests.integration.deploy.notify_socket import NotifySocket
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.redis_server import ServerFactory
from tests.support.waiting import eventually_sync

ROOT = Path(__file__).parents[3]


@pytest.fixture
def systemd() -> Iterator[NotifySocket]:
    with NotifySocket() as listening:
        yield listening


def worker(tmp_path: Path, redis_url: str, systemd: NotifySocket, **env: str) -> ServiceProcess:
    known = {"LEADSTREAM_REDIS_URL": redis_url, "NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": "200000"}
    return ServiceProcess([], env=known | env, output=tmp_path / "log", module="tests.support.idle_service", cwd=ROOT)


def test_a_worker_says_alive_then_ready_then_alive_again_and_stopping_on_sigterm(
    tmp_path: Path, redis_url: str, systemd: NotifySocket
) -> None:
    with worker(tmp_path, redis_url, systemd) as process:
        assert set(systemd.receive_until("READY=1")[:-1]) <= {"WATCHDOG=1"}
        assert [systemd.receive(), systemd.receive()] == ["WATCHDOG=1", "WATCHDOG=1"]
        assert process.terminate() == 0
        assert set(systemd.receive_until("STOPPING=1")[:-1]) <= {"WATCHDOG=1"}


def test_a_worker_that_waits_for_redis_is_alive_but_not_ready(
    tmp_path: Path, fresh_server: ServerFactory, systemd: NotifySocket
) -> None:
    port = free_port()
    with worker(tmp_path, f"redis://127.0.0.1:{port}/0", systemd) as process:
        eventually_sync(lambda: "waiting for redis" in process.text(), "the worker to wait")
        assert [systemd.receive() for _ in range(3)] == ["WATCHDOG=1"] * 3
        server: EmbeddedServer = fresh_server(port=port)
        assert "READY=1" in systemd.receive_until("READY=1")
        server.kill()
        eventually_sync(lambda: "redis cannot take work" in process.text(), "the worker to miss Redis")
        systemd.forget()
        assert systemd.receive() == "WATCHDOG=1", "Redis being away is nothing that a restart mends"


def test_a_frozen_worker_falls_silent_and_its_heartbeat_grows_old(
    tmp_path: Path, redis_url: str, systemd: NotifySocket
) -> None:
    beat = tmp_path / "alive"
    with worker(tmp_path, redis_url, systemd, LEADSTREAM_HEARTBEAT_FILE=str(beat)) as process:
        systemd.receive_until("READY=1")
        first = beat.stat().st_mtime_ns
        eventually_sync(lambda: beat.stat().st_mtime_ns > first, "the next heartbeat")
        assert look_at_heartbeat(str(beat), time.time()) is None
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        systemd.forget()
        with pytest.raises(TimeoutError):
            systemd.receive(1.0)
        assert "heartbeat is 60 s old" in str(look_at_heartbeat(str(beat), beat.stat().st_mtime + 60))


def test_the_api_says_ready_when_it_answers_alive_after_that_and_stopping_on_sigterm(
    tmp_path: Path, redis_url: str, systemd: NotifySocket
) -> None:
    env = {
        "LEADSTREAM_REDIS_URL": redis_url,
        "LEADSTREAM_API_PORT": "0",
        "LEADSTREAM_DATA_DIR": str(tmp_path),
        "NOTIFY_SOCKET": systemd.path,
        "WATCHDOG_USEC": "2000000",
    }
    with ServiceProcess([], env=env, output=tmp_path / "log", module="leadstream_api") as process:
        systemd.receive_until("READY=1")
        assert "api ready on http://127.0.0.1:" in process.text()
        assert systemd.receive_until("WATCHDOG=1") == ["WATCHDOG=1"]
        assert process.terminate() == 0
        systemd.receive_until("STOPPING=1")


@pytest.mark.parametrize(
    ("module", "args", "service"),
    [
        ("leadstream_api", [], "api"),
        ("leadstream_mailer", [], "mailer"),
        ("leadstream_mailer", ["fanout"], "fanout"),
        ("leadstream_projections", [], "projections"),
    ],
)
def test_a_wrong_setting_is_one_line_on_stderr_and_exit_code_2(
    tmp_path: Path, module: str, args: list[str], service: str
) -> None:
    env = {"LEADSTREAM_LEASE": "soon"}
    with ServiceProcess(args, env=env, output=tmp_path / "log", module=module) as process:
        assert process.wait() == 2
        assert process.text().startswith(f"leadstream {service}: LEADSTREAM_LEASE: must be a duration")
        assert len(process.text().splitlines()) == 1


def test_a_heartbeat_file_that_cannot_be_written_is_refused_by_name(tmp_path: Path, systemd: NotifySocket) -> None:
    env = {"LEADSTREAM_HEARTBEAT_FILE": str(tmp_path / "absent" / "alive")}
    with ServiceProcess([], env=env, output=tmp_path / "log", module="leadstream_mailer") as process:
        assert process.wait() == 2
        assert "leadstream mailer: LEADSTREAM_HEARTBEAT_FILE:" in process.text()


def test_an_unknown_part_of_the_mailer_is_wrong_use(tmp_path: Path) -> None:
    with ServiceProcess(["sender"], env={}, output=tmp_path / "log", module="leadstream_mailer") as process:
        assert process.wait() == 2
        assert process.text() == "usage: python -m leadstream_mailer [mailer|fanout]\n"
