"""A rebuild of many events, while the service counts and readers read, killed in the middle and gone on with.

`python -m tests.faults.rebuild [--events 1000000]` prints what it saw as JSON and exits with 1 if anything is not as
promised: every counter exact, no counter ever seen going back. Rates and memory are figures, not promises.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.rebuild import START, fill, outcome
from leadstream_cli.embedded import EmbeddedServer
from leadstream_events import keys
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client, connect
from leadstream_events.views_stats import totals
from leadstream_events.writer import PipelinedWriter
from leadstream_projections.counters import PROJECTIONS
from leadstream_projections.verify import verify
from tests.integration.projections.scan import all_finished
from tests.support.process import ServiceProcess
from tests.support.waiting import eventually

LOAD_PER_S = 100
_TICK_S = 0.1
# Only outcomes are there: the groups have no other stream to finish.
GROUPS: dict[str, tuple[str, ...]] = {each.group: (keys.OUTCOMES,) for each in PROJECTIONS}


class Watch:
    """Appends a few outcomes and reads the totals, again and again, and notes whether one ever went back."""

    def __init__(self, client: Client, events: int) -> None:
        self._client, self._next = client, events
        self._log = StreamLog(client, PipelinedWriter(client), partitions=1, deadline_s=30.0)
        self.reads, self.went_back, self.slowest_read_s = 0, 0, 0.0
        self._over = asyncio.Event()

    async def append(self) -> None:
        """Until `stop`."""
        while not self._over.is_set():
            for _ in range(int(LOAD_PER_S * _TICK_S)):
                fields = outcome(self._next)
                await self._client.execute_command("XADD", keys.stream(0, keys.OUTCOMES), "*", *fields)
                self._next += 1
            await asyncio.sleep(_TICK_S)

    async def read(self) -> None:
        """Until `stop`."""
        last: dict[str, int] = {}
        while not self._over.is_set():
            started = time.monotonic()
            found = dict((await totals(self._log)).counters)
            self.slowest_read_s = max(self.slowest_read_s, time.monotonic() - started)
            self.went_back += any(found.get(name, 0) < count for name, count in last.items())
            last = found
            self.reads += 1
            await asyncio.sleep(0.01)

    def stop(self) -> None:
        """Ends both."""
        self._over.set()


def memory_mb(pid: int) -> float:
    """PSS of a process where the system tells it, else its resident size; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0.0


async def rebuild_once(url: str, client: Client, kill_at: float | None = None) -> dict[str, Any]:
    """Runs the rebuild of `benchmarks.rebuild` in a process; `kill_at`: the share of the work at which it is killed."""
    names = ",".join(each.name for each in PROJECTIONS)
    command = [sys.executable, "-m", "benchmarks.rebuild", "--child", url, names]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    highest, killed = 0.0, False
    total = len(PROJECTIONS) * int(await client.xlen(keys.stream(0, keys.OUTCOMES)))
    ended = asyncio.create_task(process.communicate())
    while not ended.done():
        highest = max(highest, memory_mb(process.pid))
        if kill_at is not None and not killed:
            done = [int(await client.hget(keys.rebuild(0, each.name), "done") or 0) for each in PROJECTIONS]
            if sum(done) >= kill_at * total:
                process.kill()
                killed = True
        await asyncio.wait([ended], timeout=0.05)
    out, _ = await ended
    seen = {"killed_after_counted": sum(done)} if killed else json.loads(out.splitlines()[-1])
    return {**seen, "pss_mb_max": round(highest)}


async def drifts(client: Client, now: datetime) -> list[Any]:
    """Every counter that is not what the log says."""
    return [drift for each in PROJECTIONS for drift in (await verify(client, each, 0, now)).drifts]


async def show(url: str, events: int, folder: Path) -> dict[str, Any]:
    """The whole run."""
    client = connect(url, timeout_s=120.0)
    await fill(url, events)
    out: dict[str, Any] = {"events": events, "quiet": await rebuild_once(url, client)}
    now = START + timedelta(milliseconds=200 * events)
    watch = Watch(client, events)
    env = {"LEADSTREAM_REDIS_URL": url}
    service = ServiceProcess((), env=env, output=folder / "log", ready_line="ready", module="leadstream_projections")
    await asyncio.to_thread(service.start)
    try:
        tasks = [asyncio.create_task(watch.append()), asyncio.create_task(watch.read())]
        out["killed"] = await rebuild_once(url, client, kill_at=0.5)
        out["resumed"] = await rebuild_once(url, client)
        watch.stop()
        await asyncio.gather(*tasks)
        await eventually(lambda: all_finished(client, GROUPS), "every projection to finish", 300)
    finally:
        service.kill()
    out |= {"reads": watch.reads, "went_back": watch.went_back, "slowest_read_s": round(watch.slowest_read_s, 3)}
    found = await drifts(client, now)
    out |= {"counted_in_the_end": int(await client.xlen(keys.stream(0, keys.OUTCOMES))), "drifts": len(found)}
    await client.aclose()
    return out


def main() -> int:
    """Returns 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer.start(Path(folder) / "redis", appendfsync="no")
        try:
            seen = uvloop.run(show(server.url, options.events, Path(folder)))
        finally:
            server.stop()
    print(json.dumps(seen, indent=2))
    return int(seen["drifts"] > 0 or seen["went_back"] > 0)


if __name__ == "__main__":
    sys.exit(main())
