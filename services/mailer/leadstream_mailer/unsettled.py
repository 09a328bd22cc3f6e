"""Keeps on disk what SMTP servers answered while Redis could not be told: "accepted but not yet committed".

Without it a mailer that dies during an outage forgets that a mail was accepted, and the mail goes once more (marked,
but twice). A settlement is written when its commit was refused, or was not done after a quarter of a second; it is
forgotten once it was carried out. At its start a mailer carries out what dead ones left behind, under the original
fences, so that whatever happened to a mail since then wins.

One file per process, locked while it lives, made only when it is needed. Within the quarter of a second before the
first write nothing is kept: the ledger then says `unknown`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec
from structlog.stdlib import get_logger

from leadstream_events.effects import Effect, Fence, Settlement, Verb
from leadstream_events.tasks import end
from leadstream_mailer import metrics

logger = get_logger("leadstream.mailer")

KEEP_AFTER_S = 0.25
_SCHEMA = "CREATE TABLE IF NOT EXISTS settlements (place TEXT PRIMARY KEY, partition INTEGER, body BLOB)"
_DELETE = "DELETE FROM settlements WHERE place = ?"
_PREFIX, _SUFFIX = "unsettled-", ".db"


def _pack(settlement: Settlement) -> bytes:
    return msgspec.msgpack.encode(settlement)


def _unpack(body: bytes) -> Settlement:
    """By hand: msgspec has no type for arguments that are texts or bytes."""
    value = msgspec.msgpack.decode(body)
    effects = tuple(Effect(item["command"], item["key"], tuple(item["args"])) for item in value["effects"])
    fence = Fence(**value["fence"]) if value["fence"] else None
    return Settlement(value["stream"], value["entry_id"], effects, Verb(value["verb"]), fence)


def _place(settlement: Settlement) -> str:
    return f"{settlement.stream} {settlement.entry_id}"


class Unsettled:
    """Settlements under way of one process. `data_dir` should be on a disk that outlives it."""

    def __init__(self, data_dir: Path, owner: str) -> None:
        self._path = data_dir / f"{_PREFIX}{owner}{_SUFFIX}"
        self._under_way: dict[str, tuple[float, int, Settlement]] = {}
        self._kept: set[str] = set()
        # Carried out, and still on disk: forgotten together, a write to the disk for each would hold up the loop.
        self._finished: set[str] = set()
        self._database: sqlite3.Connection | None = None
        self._lock: IO[bytes] | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Unsettled:
        self._sweeper = asyncio.create_task(self._sweep_forever(), name="unsettled")
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._sweeper)
        self._keep([place for place, (_, _, item) in self._under_way.items() if item.fence])
        self._forget()
        if self._database is not None:
            self._database.close()
        if self._lock is not None:
            if not self._kept:
                _remove(self._path)
            self._lock.close()

    def begin(self, partition: int, settlement: Settlement) -> None:
        """A settlement is on its way to Redis."""
        self._under_way[_place(settlement)] = (time.monotonic(), partition, settlement)

    def done(self, settlement: Settlement) -> None:
        """It was carried out, or is void. One that a death leaves on disk all the same is void at the next start."""
        place = _place(settlement)
        self._under_way.pop(place, None)
        if place in self._kept:
            self._kept.discard(place)
            self._finished.add(place)
            metrics.KEPT_OUTCOMES.set(len(self._kept))

    def stuck(self, settlements: Sequence[Settlement]) -> None:
        """Redis refused them: keep them, and everything else that is under way, at once."""
        self._keep(list(self._under_way))

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(KEEP_AFTER_S)
            before = time.monotonic() - KEEP_AFTER_S
            self._keep([place for place, (since, _, _) in self._under_way.items() if since < before])
            self._forget()

    def _forget(self) -> None:
        """Takes from the disk what was finished since; what the disk refuses is tried again."""
        if self._finished and self._execute([(_DELETE, (place,)) for place in self._finished]):
            self._finished.clear()

    def _keep(self, places: Sequence[str]) -> None:
        rows = []
        for place in places:
            _, partition, settlement = self._under_way[place]
            if settlement.fence is not None and place not in self._kept:
                rows.append((place, partition, _pack(settlement)))
        if rows and self._execute([("REPLACE INTO settlements VALUES (?, ?, ?)", row) for row in rows]):
            self._kept.update(str(row[0]) for row in rows)
            self._finished.difference_update(self._kept)  # kept again as a later attempt
            metrics.KEPT_OUTCOMES.set(len(self._kept))

    def _execute(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> bool:
        """On this loop's thread: it happens during outages only. A disk that refuses is logged; sending goes on."""
        try:
            database = self._database or self._open()
            with database:
                for statement, values in statements:
                    database.execute(statement, values)
            return True
        except (sqlite3.Error, OSError) as error:
            logger.error("what was sent cannot be kept on disk", error=type(error).__name__)
            return False

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lock is None:
            self._lock = _locked(self._path, create=True)
        self._database = _connect(self._path)
        return self._database


async def settle_left_behind(data_dir: Path, settle: Callable[[int, Settlement], Awaitable[None]]) -> int:
    """Hands what dead processes left to `settle`, and forgets each that it finished; returns how many there were.

    What `settle` raises passes through; the rest is then left for the next start.
    """
    count = 0
    for path, lock in _orphans(data_dir):
        with lock, contextlib.closing(_connect(path)) as database:
            rows = database.execute("SELECT place, partition, body FROM settlements").fetchall()
            for place, partition, body in rows:
                await settle(partition, _unpack(body))
                count += 1
                with database:
                    database.execute(_DELETE, (place,))
            _remove(path)
    return count


def _orphans(data_dir: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    for path in sorted(data_dir.glob(f"{_PREFIX}*{_SUFFIX}")):
        try:
            lock = _locked(path, create=False)
        except OSError:  # its process lives, or another one is at it
            continue
        yield path, lock


def _locked(path: Path, *, create: bool) -> IO[bytes]:
    """A lock beside the database: SQLite's own locks on the file would be lost with a second descriptor of it."""
    lock_path = path.with_suffix(".lock")
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    handle = os.fdopen(os.open(lock_path, flags, 0o600), "r+b")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise
    return handle


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute(_SCHEMA)
    return database


def _remove(path: Path) -> None:
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm"), path.with_suffix(".lock")):
        name.unlink(missing_ok=True)
