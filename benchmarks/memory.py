"""Memory of the services before and after a load: `python -m benchmarks.memory [--leads 2000]`.

Twice on the same machine: each service as a process of its own, as units and containers start it, and as children of
one parent (`leadstream serve`). The figure is PSS (proportional set size, proc(5)): what a process holds alone, and its
share of what several hold together. Server, inbox and load generator are not counted. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from leadstream_cli.embedded import EmbeddedServer
from leadstream_cli.inbox import Inbox, listen, port_of
from tests.support.ports import free_port

SUBSCRIBERS = 5
MODULES = {"api": ["leadstream_api"], "fanout": ["leadstream_mailer", "fanout"], "mailer": ["leadstream_mailer"],
           "projections": ["leadstream_projections"]}  # fmt: skip
_AT_ONCE = 16
_WITHIN_S = 120.0
_IDLE_S = 10.0


def pss_mib(pid: int) -> float:
    """MiB of one process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no Pss in smaps_rollup of process {pid}")


def cpu_s(pid: int) -> float:
    """User and system seconds of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    """The children of a process."""
    return [int(item) for item in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def name_of(pid: int) -> str:
    """How a process calls itself."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


class Started:
    """The services as processes, in one of the two ways."""

    def __init__(self, one_parent: bool, env: Mapping[str, str], folder: Path) -> None:
        self._one_parent = one_parent
        commands = {"parent": ["leadstream_cli.serving", *MODULES]} if one_parent else MODULES
        log = (folder / "log").open("ab")
        self._processes = {
            name: subprocess.Popen(
                [sys.executable, "-P", "-m", *command], env=dict(env), cwd=folder, stdout=log, stderr=log
            )
            for name, command in commands.items()
        }
        log.close()

    def pids(self) -> dict[str, int]:
        """Name to process."""
        found = {name: process.pid for name, process in self._processes.items()}
        for pid in [child for parent in list(found.values()) for child in children_of(parent)]:
            found[name_of(pid)] = pid
        return found

    def stop(self) -> None:
        """Ends all of them; RuntimeError when one does not end well."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        codes = {name: process.wait(30) for name, process in self._processes.items()}
        if any(codes.values()):
            raise RuntimeError(f"exit codes {codes}")


async def load(url: str, inbox: Inbox, leads: int, before: int) -> None:
    """Posts leads, several at once, and returns when their mails are there; `before` were posted earlier."""
    numbers = iter(range(before, before + leads))
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30.0) as client:

        async def post() -> None:
            for number in numbers:
                lead = {"full_name": f"Visitor {number}", "email": f"visitor{number}@example.com", "state": "CA"}
                answer = await client.post("/leads", json=lead)
                answer.raise_for_status()

        await asyncio.gather(*(post() for _ in range(_AT_ONCE)))
    due = (before + leads) * (SUBSCRIBERS + 1)
    await asyncio.wait_for(inbox.wait_for(lambda box: box.counts().distinct >= due), _WITHIN_S)


async def subscribe(url: str) -> None:
    """Waits for the API, then adds the subscribers."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client, asyncio.timeout(_WITHIN_S):
        while True:
            try:
                (await client.get("/health/ready")).raise_for_status()
                break
            except httpx.HTTPError:
                await asyncio.sleep(0.1)
        for number in range(SUBSCRIBERS):
            dealer = {"email": f"dealer{number}@example.com", "name": f"Dealer {number}"}
            (await client.post("/subscribers", json=dealer)).raise_for_status()


async def measure(one_parent: bool, leads: int, folder: Path) -> dict[str, list[float]]:
    """Name of each process to its MiB: idle, and after the load; and its CPU when idle, in % of a core."""
    inbox = Inbox(keep=1)
    smtp = await listen(inbox)
    server = await asyncio.to_thread(EmbeddedServer.start, folder / "server")
    port = free_port()
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ} | {
        "LEADSTREAM_REDIS_URL": server.url,
        "LEADSTREAM_SMTP_URL": f"smtp://127.0.0.1:{port_of(smtp)}",
        "LEADSTREAM_API_PORT": str(port),
        "LEADSTREAM_DATA_DIR": str(folder / "data"),
        "LEADSTREAM_RATE_LIMIT": "off",
    }
    started = Started(one_parent, env, folder)
    try:
        url = f"http://127.0.0.1:{port}"
        await subscribe(url)
        await load(url, inbox, 1, 0)
        pids = started.pids()
        found = {name: [pss_mib(pid)] for name, pid in pids.items()}
        spent = {name: cpu_s(pid) for name, pid in pids.items()}
        await asyncio.sleep(_IDLE_S)
        idle = {name: (cpu_s(pid) - spent[name]) / _IDLE_S * 100 for name, pid in pids.items()}
        await load(url, inbox, leads, 1)
        await asyncio.sleep(2.0)  # counters lag a little
        if started.pids() != pids:
            raise RuntimeError("a process was started again: the figures are of another one")
        return {name: [*values, pss_mib(pids[name]), idle[name]] for name, values in found.items()}
    finally:
        started.stop()
        smtp.close()
        await asyncio.to_thread(server.stop)


def report(title: str, found: Mapping[str, Sequence[float]]) -> None:
    """Prints a table."""
    print(f"\n{title}\n{'':<14}{'idle MiB':>9}{'loaded MiB':>12}{'idle CPU %':>12}")
    rows = [*found.items(), ("together", [sum(column) for column in zip(*found.values(), strict=True)])]
    for name, (idle, loaded, cpu) in rows:
        print(f"{name:<14}{idle:>9.1f}{loaded:>12.1f}{cpu:>12.2f}")


def main() -> None:
    """Measures both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leads", type=int, default=2_000)
    options = parser.parse_args()
    for one_parent, title in ((False, "each service by itself"), (True, "one parent")):
        with tempfile.TemporaryDirectory() as name:
            report(title, asyncio.run(measure(one_parent, options.leads, Path(name))))
    print(json.dumps({"leads": options.leads, "python": sys.version.split()[0]}))


if __name__ == "__main__":
    main()
