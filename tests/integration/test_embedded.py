"""The embedded server: ours alone, tied to its owner, and it loses nothing acknowledged."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events.errors import ConfigurationError
from tests.support.process import ServiceProcess
from tests.support.redis_server import SERVERS, ServerFactory, binary_of
from tests.support.waiting import DEADLINE_S, eventually_sync, process_runs

ROOT = Path(__file__).parents[2]
TIES = ["death-signal", "watchdog"] if sys.platform.startswith("linux") else ["watchdog"]


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, protocol=2, retry=Retry(NoBackoff(), 0), decode_responses=True)


@pytest.fixture(params=SERVERS)
def binary(request: pytest.FixtureRequest) -> Path:
    return binary_of(request.param)


@pytest.fixture(params=TIES)
def owner(request: pytest.FixtureRequest, binary: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A process that owns a server on `tmp_path / "data"`."""
    args = [str(tmp_path / "data"), str(binary), request.param]
    module = "tests.support.embedded_owner"
    env = {"TMPDIR": str(tmp_path)}
    process = ServiceProcess(args, env=env, output=tmp_path / "owner.log", ready_line="owned ", module=module, cwd=ROOT)
    with process:
        yield process


def server_of(owner: ServiceProcess) -> tuple[int, str]:
    _, pid, url = owner.text().split()
    return int(pid), url


def test_a_server_dies_with_its_sigkilled_owner(owner: ServiceProcess) -> None:
    pid, url = server_of(owner)
    assert client(url).ping()
    owner.kill()
    eventually_sync(lambda: not process_runs(pid), "the server to die with its owner")


def test_a_directory_is_free_and_complete_after_its_owner_was_sigkilled(owner: ServiceProcess, tmp_path: Path) -> None:
    _, url = server_of(owner)
    client(url).set("kept", "yes")
    owner.kill()
    with EmbeddedServer.start(tmp_path / "data") as server:
        assert client(server.url).get("kept") == "yes"


def test_the_next_owner_removes_the_socket_that_a_killed_one_left(owner: ServiceProcess, tmp_path: Path) -> None:
    pid, url = server_of(owner)
    left = Path(url.removeprefix("unix://"))
    owner.kill()
    eventually_sync(lambda: not process_runs(pid), "the server to die with its owner")
    assert left.exists()
    with EmbeddedServer.start(tmp_path / "data"):
        assert not left.parent.exists()


def test_a_second_owner_is_refused_with_the_directory_and_the_pid_of_the_first(
    owner: ServiceProcess, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EmbeddedServer.start(tmp_path / "data")
    assert str(tmp_path / "data") in str(caught.value)
    assert f"process {owner.pid}" in str(caught.value)
    assert client(server_of(owner)[1]).ping()


def test_a_second_server_in_the_same_process_is_refused(fresh_server: ServerFactory, tmp_path: Path) -> None:
    fresh_server(tmp_path / "one")
    with pytest.raises(ConfigurationError, match=f"process {os.getpid()}"):
        fresh_server(tmp_path / "one")
    fresh_server(tmp_path / "two")


def test_the_server_itself_keeps_the_directory_locked(
    fresh_server: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadstream_cli.embedded_lock._GRACE_S", 0.1)
    server = fresh_server(tmp_path / "data")
    server._lock.release()  # as if the owner had died and its server not yet
    with pytest.raises(ConfigurationError, match="in use by another process"):
        fresh_server(tmp_path / "data")
    server.kill()
    fresh_server(tmp_path / "data")


def test_data_survives_a_restart_on_the_same_directory(fresh_server: ServerFactory, tmp_path: Path) -> None:
    with fresh_server(tmp_path / "data") as first:
        client(first.url).xadd("stream", {"field": "value"}, id="7-1")
    with fresh_server(tmp_path / "data") as second:
        assert client(second.url).xrange("stream") == [("7-1", {"field": "value"})]


def test_sigkill_under_load_loses_no_acknowledged_write_with_appendfsync_always(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    server = fresh_server(tmp_path / "data", appendfsync="always")
    acknowledged: list[int] = []
    enough = threading.Event()

    def write() -> None:
        connection = client(server.url)
        number = 0
        while True:
            try:
                connection.set(f"write:{number}", number)
            except redis.ConnectionError:
                return
            acknowledged.append(number)
            number += 1
            if number == 200:
                enough.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(DEADLINE_S)
    os.kill(server.pid, signal.SIGKILL)
    writer.join(DEADLINE_S)
    server.kill()
    again = client(fresh_server(tmp_path / "data").url)
    assert [again.get(f"write:{number}") for number in acknowledged] == [str(number) for number in acknowledged]


def test_a_server_keeps_every_write_and_never_evicts(fresh_server: ServerFactory) -> None:
    connection = client(fresh_server(appendfsync="always").url)
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
    assert {name: connection.config_get(name)[name] for name in wanted} == wanted


def test_a_tcp_server_listens_on_loopback_only_and_is_the_one_started(fresh_server: ServerFactory) -> None:
    server = fresh_server(port=0)
    assert server.url.startswith("redis://127.0.0.1:")
    connection = client(server.url)
    assert connection.info("server")["process_id"] == server.pid
    assert connection.config_get("bind")["bind"] == "127.0.0.1"


def test_a_taken_port_is_named(fresh_server: ServerFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} on 127.0.0.1 is taken"):
            fresh_server(port=port)


def test_a_server_that_ends_at_its_start_is_reported_with_its_log(fresh_server: ServerFactory, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.log"):
        fresh_server(tmp_path / "data", extra=["--no-such-option", "1"])
    fresh_server(tmp_path / "data")


def test_a_long_path_with_blanks_and_other_scripts_works(fresh_server: ServerFactory, tmp_path: Path) -> None:
    directory = tmp_path / "a directory with blanks" / "данные" / ("long-" * 30)
    with fresh_server(directory) as server:
        client(server.url).set("kept", "yes")
    with fresh_server(directory) as server:
        assert client(server.url).get("kept") == "yes"


def test_a_stopped_server_is_gone_with_its_socket(fresh_server: ServerFactory) -> None:
    server = fresh_server()
    path = Path(server.url.removeprefix("unix://"))
    assert server.alive()
    assert path.is_socket()
    server.stop()
    assert not server.alive()
    assert not process_runs(server.pid)
    assert not path.parent.exists()
    server.stop()


def test_ctrl_c_in_the_terminal_does_not_reach_the_server_before_its_owner(fresh_server: ServerFactory) -> None:
    assert os.getpgid(fresh_server().pid) != os.getpgid(0)
