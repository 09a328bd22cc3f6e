"""Archives under load and kills the archiver at random: `python -m tests.faults.archive [--entries N] [--kills N]`.

Every entry must be in archive or stream, none twice in a read, and the memory of Redis must come back. The archiver is
a real process that gets SIGKILL; the groups that would work are moved along as if they had finished everything.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from leadstream_archive.archive import Archive
from leadstream_archive.checking import check
from leadstream_archive.history import History
from leadstream_archive.stores import DiskStore
from leadstream_events.redis_client import Client, connect
from tests.integration.archiver.stored import add, finish
from tests.support import redis_server
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
_STEP = 250  # leads, each with an outcome


@dataclass
class Result:
    """What came of a run. Memory in bytes; `reads` are whole reads that were made meanwhile, each exact."""

    entries: int
    kills: int
    reads: int = 0
    lost: int = 0
    doubled: int = 0
    seconds: float = 0.0
    memory_empty: int = 0
    memory_most: int = 0
    memory_after: int = 0
    archive_bytes: int = 0
    line_bytes: int = 0
    segments: int = 0
    problems: list[str] = field(default_factory=list)


class Run:
    """One server, one archive, one archiver at a time."""

    def __init__(self, url: str, folder: Path, entries: int, kills: int, retain: str) -> None:
        self.client: Client = connect(url, timeout_s=30.0)
        self.folder = folder
        self.env = os.environ | {
            "LEADSTREAM_REDIS_URL": url, "LEADSTREAM_ARCHIVE_URL": str(folder), "LEADSTREAM_RETAIN": retain,
        }  # fmt: skip
        self.result = Result(entries, kills)
        self.stored: dict[str, list[bytes]] = {}
        self.begun, self.loaded = asyncio.Event(), asyncio.Event()
        self._log = (folder.parent / "archiver.log").open("ab")

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the archiver."""
        command = [sys.executable, "-m", "leadstream_archiver"]
        return subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=self._log, stderr=self._log)

    async def load(self) -> None:
        """Stores entries until there are enough of them; groups follow at once."""
        done = 0
        while done < self.result.entries:
            for key, ids in (await add(self.client, 1, _STEP)).items():
                self.stored.setdefault(key, []).extend(ids)
                done += len(ids)
            await finish(self.client)
            self.begun.set()
            self.result.memory_most = max(self.result.memory_most, await self.memory())
        self.loaded.set()

    async def memory(self) -> int:
        """used_memory of the server."""
        return int((await self.client.info("memory"))["used_memory"])

    async def read(self) -> None:
        """Reads everything; what was stored before it began must be there, once and in order."""
        history = History(self.client, Archive(DiskStore(self.folder), "read"))
        for key, ids in list(self.stored.items()):
            known = len(ids)
            seen = [entry_id async for page in history.pages_of(key) for entry_id, _ in page]
            self.result.lost += len(set(ids[:known]) - set(seen))
            self.result.doubled += len(seen) - len(set(seen))
            if seen[:known] != ids[:known]:
                self.result.problems.append(f"{key}: another order")

    async def keep_reading(self) -> None:
        """Whole reads until the load is over."""
        await self.begun.wait()
        while not self.loaded.is_set():
            await self.read()
            self.result.reads += 1

    async def keep_killing(self) -> None:
        """Kills the archiver at random moments, and starts it again at once."""
        process = self.start()
        for _ in range(self.result.kills):
            await asyncio.sleep(random.uniform(0.8, 4.0))  # the moment is meant to be any
            process.kill()
            process.wait()
            process = self.start()
        await self.loaded.wait()
        await eventually(self._empty, "every stream to be trimmed", within_s=600)
        process.terminate()
        # Killed last a moment ago, it may not have got as far as to handle the signal.
        if await asyncio.to_thread(process.wait) not in (0, -signal.SIGTERM):
            self.result.problems.append("the archiver did not end well")

    async def _empty(self) -> bool:
        return not any([await self.client.xlen(key) for key in self.stored])

    async def go(self) -> Result:
        """All of it."""
        started = time.monotonic()
        self.result.memory_empty = await self.memory()
        async with asyncio.TaskGroup() as tasks:
            for work in (self.load(), self.keep_reading(), self.keep_killing()):
                tasks.create_task(work)
        self.result.seconds = time.monotonic() - started
        await self.read()
        self.result.memory_after = await self.memory()
        await self._look()
        await self.client.aclose()
        self._log.close()
        return self.result

    async def _look(self) -> None:
        archive = Archive(DiskStore(self.folder), "look")
        async for each in check(archive):
            if each.problem:
                self.result.problems.append(f"{each.name}: {each.problem}")
        segments = [segment for part in archive.manifest.streams.values() for segment in part.segments]
        self.result.segments = len(segments)
        self.result.archive_bytes = sum(segment.bytes for segment in segments)
        self.result.line_bytes = sum(segment.raw_bytes for segment in segments)


async def run(folder: Path, entries: int, kills: int, retain: str = "1s") -> Result:
    """Runs it on a server of its own."""
    server = redis_server.start(redis_server.VALKEY, folder / "redis")
    try:
        return await Run(server.url, folder / "archive", entries, kills, retain).go()
    finally:
        server.server.stop()


def main() -> int:
    """Prints the result as JSON; exit code 3 when an entry was lost or doubled."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=500_000)
    parser.add_argument("--kills", type=int, default=10)
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leadstream-archive-")))
        result = asyncio.run(run(folder, args.entries, args.kills))
    print(json.dumps(asdict(result), indent=1))
    return 3 if result.lost or result.doubled or result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
