"""`leadstream serve` with the real services: they do the main job, also while each of them is killed in turn."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.house import House
from tests.support.ports import free_port
from tests.support.process import ServiceProcess, answers_ok
from tests.support.waiting import eventually_sync, process_runs

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leadstream serve needs Linux")

SERVICES = ("api", "fanout", "mailer-1", "mailer-2", "projections")


def pids_of(process: ServiceProcess, child: str) -> list[int]:
    return [int(pid) for pid in re.findall(rf"started +child={child} pid=(\d+)", process.text())]


def wait_for_another(process: ServiceProcess, child: str) -> None:
    eventually_sync(lambda: len(pids_of(process, child)) == 2, f"{child} to come back")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    # No lease ends here: children are killed while nothing is under way.
    with House(tmp_path / "house", appendfsync="no", LEADSTREAM_LEASE="20s") as made:
        metrics = f"127.0.0.1:{free_port()}"
        made.processes = {
            "serve": ServiceProcess(
                ["serve", "api", "fanout", "mailer", "mailer", "projections"],
                env=made.env | {"LEADSTREAM_API_PORT": str(made.port), "LEADSTREAM_METRICS_LISTEN": metrics},
                output=made.folder / "serve.log",
                ready_line=f"children={len(SERVICES)}",
                cwd=made.folder,
            )
        }
        yield made.start()


def test_leads_are_mailed_once_while_each_child_is_killed_and_all_of_them_drain(house: House) -> None:
    serve = house.processes["serve"]
    asyncio.run(house.add_subscribers(2))
    leads = asyncio.run(house.post_leads(3))
    asyncio.run(house.settled(leads))
    for number, name in enumerate(SERVICES):
        os.kill(pids_of(serve, name)[-1], signal.SIGKILL)
        wait_for_another(serve, name)
        eventually_sync(lambda: answers_ok(house.base + "/health/ready"), "the API to answer")
        leads += asyncio.run(house.post_leads(2, first=len(leads)))
        asyncio.run(house.settled(leads))
        assert len(leads) == 5 + 2 * number
    report = asyncio.run(house.verify(leads))
    assert (report.lost, report.doubled, report.strangers, report.differences) == ([], [], [], [])
    assert "service=mailer\n" in serve.text(), "a service goes by its own name, whatever its process is called"
    assert "service=mailer-1" not in serve.text()
    last = [pids_of(serve, name)[-1] for name in SERVICES]
    assert serve.terminate() == 0
    assert not any(process_runs(pid) for pid in last)


def test_callers_wait_while_the_api_is_started_again(house: House) -> None:
    serve = house.processes["serve"]
    asyncio.run(house.add_subscribers(1))
    os.kill(pids_of(serve, "api")[-1], signal.SIGKILL)
    leads = asyncio.run(house.post_leads(1))
    asyncio.run(house.settled(leads))
    assert len(pids_of(serve, "api")) == 2


def taken_by(house: House, pids: list[int]) -> list[int]:
    """How many of 60 connections, kept open as a proxy does, each process takes."""

    def open_files() -> list[int]:
        return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids]

    before = open_files()
    with ExitStack() as stack:
        for _ in range(60):
            client = stack.enter_context(httpx.Client(base_url=house.base, trust_env=False, timeout=60.0))
            assert client.get("/health/live").status_code == 200
        return [now - had for now, had in zip(open_files(), before, strict=True)]


def test_two_apis_share_connections_also_after_one_was_started_again(tmp_path: Path) -> None:
    services = ["api", "api", "fanout", "mailer", "projections"]
    with House(tmp_path / "house", appendfsync="no") as house:
        serve = ServiceProcess(
            ["serve", *services],
            env=house.env | {"LEADSTREAM_API_PORT": str(house.port)},
            output=house.folder / "serve.log",
            ready_line=f"children={len(services)}",
            cwd=house.folder,
        )
        house.processes = {"serve": serve}
        house.start()
        first, second = (pids_of(serve, name)[-1] for name in ("api-1", "api-2"))
        assert min(taken_by(house, [first, second])) >= 10  # fewer by chance once in ten million runs
        os.kill(first, signal.SIGKILL)
        eventually_sync(lambda: serve.text().count("api ready on") == 3, "the API to listen again")
        assert min(taken_by(house, [pids_of(serve, "api-1")[-1], second])) >= 10


def test_every_service_ends_after_the_parent_was_killed(house: House) -> None:
    serve = house.processes["serve"]
    children = [pids_of(serve, name)[-1] for name in SERVICES]
    serve.kill()
    eventually_sync(lambda: not any(process_runs(pid) for pid in children), "the services to end")
    with serve.start():
        eventually_sync(lambda: answers_ok(house.base + "/health/live"), "the API at the address, which is free again")


def test_a_setting_that_is_wrong_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    env = {"LEADSTREAM_LEASE": "soon"}
    with ServiceProcess(["serve"], env=env, output=tmp_path / "log") as process:
        assert process.wait() == 2
        assert process.text().startswith("leadstream serve: LEADSTREAM_LEASE: must be a duration")
        assert len(process.text().splitlines()) == 1


def test_a_service_that_is_none_is_wrong_use(tmp_path: Path) -> None:
    with ServiceProcess(["sender"], env={}, output=tmp_path / "log", module="leadstream_cli.serving") as process:
        assert process.wait() == 2
        assert process.text().startswith("leadstream serve: no service 'sender': choose from api, fanout, ")


_LOOK = """
import os, sys, threading
from leadstream_cli.serving.children import MODULES, make_children
from leadstream_events.settings import Settings
children = make_children(list(MODULES), Settings(api_port=0, return_path="bounce@example.com"))
print(len(os.listdir("/proc/self/task")), threading.active_count(), "rich" in sys.modules)
"""


def test_the_parent_has_one_thread_when_it_forks_and_nothing_of_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("1 1 False\n", "")
