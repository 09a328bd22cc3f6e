"""The SQLite file behind the spool: one thread, group commit, and a promise that is only given after the fsync.

An operation that returned is on disk (WAL, synchronous=FULL). Operations that callers hand over while a transaction
is being committed go into the next one together; each has its own savepoint, so one that fails undoes itself alone.
Several processes may have the file open. A disk that is full or cannot be written raises `SpoolUnavailable`.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from leadstream_events.errors import LeadstreamError

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

_BUSY_S = 5.0
_MAX_BATCH = 256


class SpoolUnavailable(LeadstreamError):
    """The spool could not be written; nothing of the operation was stored. `cause` is a label, `detail` for people."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(f"the spool cannot be written ({cause}): {detail}")
        self.cause = cause
        self.detail = detail


def classify(error: Exception) -> SpoolUnavailable | None:
    """Returns why the file could not be used, or None when the error is a bug."""
    if isinstance(error, SpoolUnavailable):
        return error
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.IntegrityError | sqlite3.ProgrammingError
    ):
        name = str(getattr(error, "sqlite_errorname", "SQLITE_ERROR"))
        known = {"SQLITE_FULL": "disk_full", "SQLITE_READONLY": "read_only", "SQLITE_BUSY": "busy"}
        cause = next((label for prefix, label in known.items() if name.startswith(prefix)), "io_error")
        return SpoolUnavailable(cause, name)
    if isinstance(error, OSError):
        return SpoolUnavailable("io_error", error.strerror or type(error).__name__)
    return None


@dataclass(slots=True)
class _Job:
    operation: Operation[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    scrub: bool = False
    result: Any = None
    error: Exception | None = None


class Database:
    """Owns the thread. Start it with `start`, end it with `close`; the file is opened by the first operation."""

    def __init__(self, path: Path, schema: str, added: Sequence[tuple[str, str, str]] = ()) -> None:
        """`added`: (table, column, definition) of columns that files of earlier versions lack."""
        self.path, self._schema, self._added = path, schema, added
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    async def close(self) -> None:
        """Finishes what was handed over, and closes the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def run(self, operation: Operation[T], *, scrub: bool = False) -> T:
        """Returns what the operation returned, once it is on disk. Raises `SpoolUnavailable`, or a bug's error.

        A caller that is cancelled does not undo the operation. `scrub`: what it deleted is in no file any more either,
        unless another process is reading right then; the next scrub makes up for that.
        """
        loop = asyncio.get_running_loop()
        job = _Job(operation, loop, loop.create_future(), scrub)
        self._jobs.put(job)
        return cast(T, await job.future)

    def _work(self) -> None:
        while True:
            first = self._jobs.get()
            batch, last = self._gather(first)
            if batch:
                self._carry_out(batch)
                for loop in {job.loop for job in batch}:
                    _tell(loop, [job for job in batch if job.loop is loop])
            if last:
                self._drop_connection()
                return

    def _gather(self, first: _Job | None) -> tuple[list[_Job], bool]:
        batch: list[_Job] = []
        job = first
        while job is not None:
            batch.append(job)
            if len(batch) >= _MAX_BATCH or self._jobs.empty():
                return batch, False
            job = self._jobs.get()
        return batch, True

    def _carry_out(self, batch: list[_Job]) -> None:
        try:
            connection = self._connection or self._open()
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                _attempt(connection, job)
            connection.execute("COMMIT")
            if any(job.scrub for job in batch):
                # Deleted rows are overwritten in the file itself (secure_delete), but older pages stay in the log.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except Exception as error:
            self._drop_connection()
            cause = classify(error) or error
            for job in batch:
                job.error = cause

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its -wal and -shm files the mode of the file itself, which holds personal data.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            connection.executescript(self._schema)
            _add_columns(connection, self._added)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _drop_connection(self) -> None:
        """Closing rolls back what is open; the next operation opens the file anew."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _add_columns(connection: sqlite3.Connection, added: Sequence[tuple[str, str, str]]) -> None:
    for table, column, definition in added:
        if column not in {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}:
            try:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {definition}")
            except sqlite3.OperationalError as error:
                if "duplicate column" not in str(error):  # another process was faster
                    raise


def _attempt(connection: sqlite3.Connection, job: _Job) -> None:
    connection.execute("SAVEPOINT job")
    try:
        job.result = job.operation(connection)
    except Exception as error:
        job.error = classify(error) or error
        if not connection.in_transaction:  # SQLite rolled the whole transaction back: nobody's work was stored
            raise
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _tell(loop: asyncio.AbstractEventLoop, jobs: list[_Job]) -> None:
    def resolve() -> None:
        for job in jobs:
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return
