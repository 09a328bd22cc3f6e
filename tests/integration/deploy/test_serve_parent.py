"""What the parent of `leadstream serve` does for any child: with small ones that need no Redis."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.deploy.notify_socket import NotifySocket
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.waiting import DEADLINE_S, eventually_sync, process_runs

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leadstream serve needs Linux")


def family(tmp_path: Path, *children: str, **env: str) -> ServiceProcess:
    known = {"FAMILY_REFUSE": str(tmp_path / "refuse"), "FAMILY_DAWDLE": str(tmp_path / "dawdle")}
    output = tmp_path / "log"
    return ServiceProcess(children, env=known | env, output=output, module="tests.support.family", cwd=ROOT)


def told(process: ServiceProcess, event: str) -> list[dict[str, object]]:
    """The parent's log lines of that kind."""
    lines = [line for line in process.text().splitlines() if line.startswith("{") and line.endswith("}")]
    return [line for line in map(json.loads, lines) if line["event"] == event]


def pids_of(process: ServiceProcess, child: str) -> list[int]:
    return [int(str(line["pid"])) for line in told(process, "started") if line["child"] == child]


def wait_ready(process: ServiceProcess) -> None:
    eventually_sync(lambda: told(process, "ready"), "the children to be ready")


def test_it_tells_its_own_supervisor_ready_alive_and_stopping_and_no_child_does(tmp_path: Path) -> None:
    with NotifySocket() as systemd, family(tmp_path, "steady", "steady", NOTIFY_SOCKET=systemd.path) as process:
        assert set(systemd.receive_until("READY=1")[:-1]) <= {"WATCHDOG=1"}
        assert systemd.receive() == "WATCHDOG=1"
        assert process.terminate() == 0
        rest = systemd.receive_until("STOPPING=1")
        assert "READY=1" not in rest
        assert not any(process_runs(pid) for pid in pids_of(process, "steady"))


def test_a_killed_child_comes_back_and_the_others_go_on(tmp_path: Path) -> None:
    with family(tmp_path, "steady", "mute") as process:
        wait_ready(process)
        (first,) = pids_of(process, "steady")
        os.kill(first, signal.SIGKILL)
        eventually_sync(lambda: len(pids_of(process, "steady")) == 2, "the child to come back")
        (ended,) = told(process, "started again soon")
        assert (ended["how"], ended["in_s"]) == ("was killed by SIGKILL", 0.5)
        assert process_runs(pids_of(process, "steady")[1]) and process.alive()


def test_a_child_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    with family(tmp_path, "mute", "steady", FAMILY_SILENT_S="5") as process:
        found = eventually_sync(lambda: told(process, "hangs: killed"), "the mute child to be found out")
        assert {line["child"] for line in found} == {"mute"}
        eventually_sync(lambda: len(pids_of(process, "mute")) >= 2, "the mute child to come back")
        assert len(pids_of(process, "steady")) == 1, "the other one was left alone"


def test_no_child_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    with family(tmp_path, "steady", "mute") as process:
        wait_ready(process)
        children = [pids_of(process, name)[0] for name in ("steady", "mute")]
        process.kill()
        eventually_sync(lambda: not any(process_runs(pid) for pid in children), "the children to end")


def test_a_child_that_does_not_drain_in_time_is_killed(tmp_path: Path) -> None:
    with family(tmp_path, "deaf", "steady") as process:
        wait_ready(process)
        (deaf,) = pids_of(process, "deaf")
        assert process.terminate() == 0
        (line,) = told(process, "did not stop in time: killed")
        assert "deaf" in str(line["children"]) and not process_runs(deaf)


def test_a_wrong_setting_at_the_start_ends_everything_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "refuse").touch()
    with family(tmp_path, "steady", "refuses") as process:
        assert process.wait() == 2
        assert "leadstream refuses: LEADSTREAM_LEASE: must be a duration\n" in process.text()
        assert not process_runs(pids_of(process, "steady")[0])


def test_a_setting_that_becomes_wrong_later_takes_nobody_else_down(tmp_path: Path) -> None:
    with family(tmp_path, "steady", "refuses") as process:
        wait_ready(process)
        (tmp_path / "refuse").touch()
        os.kill(pids_of(process, "refuses")[0], signal.SIGTERM)
        eventually_sync(lambda: len(pids_of(process, "refuses")) >= 3, "two more tries")
        assert process_runs(pids_of(process, "steady")[0]) and process.alive()


def test_callers_who_wait_where_nobody_runs_are_answered_by_the_first_that_is_back(tmp_path: Path) -> None:
    port = free_port()
    with family(tmp_path, "dawdles", "answers", FAMILY_PORT=str(port)) as process, ExitStack() as stack:
        wait_ready(process)
        os.kill(process.pid, signal.SIGSTOP)
        for name in ("dawdles", "answers"):
            os.kill(pids_of(process, name)[0], signal.SIGKILL)
        (tmp_path / "refuse").touch()
        (tmp_path / "dawdle").touch()
        os.kill(process.pid, signal.SIGCONT)
        eventually_sync(lambda: len(pids_of(process, "dawdles")) == 2, "the first to be back")
        calls = [stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE_S)) for _ in range(20)]
        (tmp_path / "dawdle").unlink()
        assert {call.recv(64) for call in calls} == {b"dawdles"}


def test_an_address_is_not_left_for_one_that_does_not_listen_yet(tmp_path: Path) -> None:
    port = free_port()
    with family(tmp_path, "dawdles", "answers", FAMILY_PORT=str(port)) as process:
        wait_ready(process)
        (tmp_path / "dawdle").touch()
        os.kill(pids_of(process, "dawdles")[0], signal.SIGKILL)
        eventually_sync(lambda: len(pids_of(process, "dawdles")) == 2, "it to be started again")
        (tmp_path / "refuse").touch()
        os.kill(pids_of(process, "answers")[0], signal.SIGKILL)
        eventually_sync(lambda: len(told(process, "started again soon")) >= 2, "the other one to be missed")
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as call:
            (tmp_path / "refuse").unlink()
            assert call.recv(64) == b"answers"
