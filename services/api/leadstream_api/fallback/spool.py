"""The spool: leads that Redis did not take, and how far the API has come with their mails.

Every method that returned has its change on disk. All of them raise `SpoolUnavailable` when the disk does not take it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from leadstream_api.fallback.database import Database, SpoolUnavailable
from leadstream_api.fallback.rows import (
    ADDED,
    FILE,
    FORMAT,
    SCHEMA,
    Fields,
    Outcome,
    SpooledLead,
    SpooledMail,
    now_ms,
    pack,
    read_lead,
    read_mail,
    read_outcome,
)
from leadstream_events.errors import Conflict
from leadstream_events.ids import new_id
from leadstream_events.ledger import State
from leadstream_events.sealing import ERASED

_SETTLE_NS = 100_000_000
_TO_SEND = (State.REQUESTED.value, State.DEFERRED.value, State.UNKNOWN.value)


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits in the spool. `oldest_ms`: when its oldest lead came in."""

    leads: int = 0
    oldest_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Everything about one lead."""

    lead: SpooledLead
    mails: tuple[SpooledMail, ...]
    outcomes: tuple[Outcome, ...]


class Spool:
    """Typed access to the file in `data_dir`; several processes may use one file."""

    def __init__(self, data_dir: Path) -> None:
        self.database = Database(data_dir / FILE, SCHEMA, ADDED)
        self._wal = data_dir / f"{FILE}-wal"
        self._empty_at: tuple[int, int] | None = None

    async def add(self, lead_id: str, fingerprint: str, fields: Fields, *, in_doubt: bool, key: str = "") -> bool:
        """Stores a lead once, with the wrapped key of a sealed one; True when it is new.

        `Conflict` for another body under the same lead id.
        """

        def operation(db: sqlite3.Connection) -> str | None:
            row = db.execute("SELECT fingerprint FROM leads WHERE lead_id = ?", (lead_id,)).fetchone()
            if row is None:
                db.execute(
                    "INSERT INTO leads (lead_id, fingerprint, merge_id, event, in_doubt, spooled_ms, key)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (lead_id, fingerprint, new_id(), pack(fields), int(in_doubt), now_ms(), key),
                )
                return None
            return str(row["fingerprint"])

        before = await self.database.run(operation)
        if before is not None and before != fingerprint:
            raise Conflict("the idempotency key was used before with another body")
        return before is None

    async def find(self, lead_id: str) -> str | None:
        """The fingerprint of a lead that waits here. Costs next to nothing while nobody has written to the file."""
        stamp = self._stamp()
        if stamp is not None and stamp == self._empty_at:
            return None

        def operation(db: sqlite3.Connection) -> tuple[str | None, bool]:
            row = db.execute("SELECT fingerprint FROM leads WHERE lead_id = ?", (lead_id,)).fetchone()
            return (str(row[0]), False) if row else (None, db.execute("SELECT 1 FROM leads LIMIT 1").fetchone() is None)

        found, empty = await self.database.run(operation)
        # A stamp that is too young does not tell a later change from an earlier one: file times are coarse.
        settled = stamp is not None and time.time_ns() - stamp[0] > _SETTLE_NS
        self._empty_at = stamp if empty and settled else None
        return found

    def _stamp(self) -> tuple[int, int] | None:
        """Changes with every commit of any process (SQLite appends to the WAL file)."""
        try:
            found = self._wal.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    async def depth(self) -> Depth:
        """How much waits."""

        def operation(db: sqlite3.Connection) -> Depth:
            row = db.execute("SELECT COUNT(*), MIN(spooled_ms) FROM leads").fetchone()
            return Depth(row[0], row[1])

        return await self.database.run(operation)

    async def work(self, limit: int, busy: Collection[str]) -> list[Work]:
        """The next leads to merge, those first whose append is in doubt; none of which a mail is being sent."""

        def operation(db: sqlite3.Connection) -> list[Work]:
            rows = db.execute(
                "SELECT * FROM leads ORDER BY in_doubt DESC, seq LIMIT ?", (limit + len(busy),)
            ).fetchall()
            return [_work_of(db, read_lead(row)) for row in rows if row["lead_id"] not in busy][:limit]

        return await self.database.run(operation)

    async def drop(self, merged: Iterable[SpooledLead]) -> None:
        """Removes leads that are merged, so that no file holds anything of them any more.

        One that was erased after it was read for the merge stays: the next merge tells Redis.
        """
        leads = list(merged)

        def operation(db: sqlite3.Connection) -> None:
            erased = {row[0] for row in db.execute("SELECT lead_id FROM leads WHERE erased != ''")}
            ids = [(lead.lead_id,) for lead in leads if lead.erased is not None or lead.lead_id not in erased]
            for table in ("outcomes", "mails", "leads"):
                db.executemany(f"DELETE FROM {table} WHERE lead_id = ?", ids)  # noqa: S608  -- names from this line

        await self.database.run(operation, scrub=bool(leads))

    async def lead(self, lead_id: str) -> SpooledLead | None:
        """A lead that waits here."""

        def operation(db: sqlite3.Connection) -> SpooledLead | None:
            row = db.execute("SELECT * FROM leads WHERE lead_id = ?", (lead_id,)).fetchone()
            return read_lead(row) if row else None

        return await self.database.run(operation)

    async def erase(self, lead_id: str, erased: Fields) -> None:
        """Destroys the key of a sealed lead and forgets the fingerprint of its body; its merge tells Redis."""

        def operation(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE leads SET key = '', fingerprint = ?, erased = ? WHERE lead_id = ? AND erased = ''",
                (ERASED, pack(erased), lead_id),
            )

        await self.database.run(operation, scrub=True)

    async def unplanned(self, limit: int) -> list[SpooledLead]:
        """Leads whose mails are not decided yet."""

        def operation(db: sqlite3.Connection) -> list[SpooledLead]:
            rows = db.execute("SELECT * FROM leads WHERE planned = 0 ORDER BY seq LIMIT ?", (limit,))
            return [read_lead(row) for row in rows]

        return await self.database.run(operation)

    async def leads_before(self, seq: int) -> int:
        """How many leads wait here that came before this one."""

        def operation(db: sqlite3.Connection) -> int:
            return int(db.execute("SELECT COUNT(*) FROM leads WHERE seq < ?", (seq,)).fetchone()[0])

        return await self.database.run(operation)

    async def plan(self, lead_id: str, mails: Sequence[SpooledMail], outcomes: Sequence[Outcome]) -> None:
        """Notes which mails the API takes on for a lead."""

        def operation(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR IGNORE INTO mails VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", map(_columns, mails))
            _add_outcomes(db, lead_id, outcomes)
            db.execute("UPDATE leads SET planned = 1 WHERE lead_id = ?", (lead_id,))

        await self.database.run(operation)

    async def due(self, limit: int, busy: Collection[str]) -> tuple[list[tuple[SpooledLead, SpooledMail]], int | None]:
        """Mails to send now, and the time (ms) at which the next one that still waits is due."""

        def operation(db: sqlite3.Connection) -> tuple[list[tuple[SpooledLead, SpooledMail]], int | None]:
            marks = ",".join("?" * len(_TO_SEND))
            rows = db.execute(
                f"SELECT * FROM mails WHERE state IN ({marks}) AND at_ms <= ? ORDER BY at_ms LIMIT ?",  # noqa: S608
                (*_TO_SEND, now_ms(), limit + len(busy)),
            )
            mails = [read_mail(row) for row in rows if row["email_id"] not in busy][:limit]
            leads = {mail.lead_id: _lead_of(db, mail.lead_id) for mail in mails}
            later = db.execute(
                f"SELECT MIN(at_ms) FROM mails WHERE state IN ({marks}) AND at_ms > ?",  # noqa: S608
                (*_TO_SEND, now_ms()),
            ).fetchone()[0]
            return [(leads[mail.lead_id], mail) for mail in mails], later

        return await self.database.run(operation)

    async def write(
        self, mail: SpooledMail, outcomes: Sequence[Outcome] = (), start: tuple[int, str, str] | None = None
    ) -> None:
        """Notes how far a mail has come, with what follows from it; `start`: (ms, place, name) of a send."""

        def operation(db: sqlite3.Connection) -> None:
            db.execute("REPLACE INTO mails VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", _columns(mail))
            _add_outcomes(db, mail.lead_id, outcomes)
            if start is not None:
                db.execute("REPLACE INTO starts VALUES (?, ?, ?)", start)

        await self.database.run(operation)

    async def cut_off(self) -> list[tuple[SpooledLead, SpooledMail]]:
        """Mails that a process that is gone was sending, with their leads."""

        def operation(db: sqlite3.Connection) -> list[tuple[SpooledLead, SpooledMail]]:
            rows = db.execute("SELECT * FROM mails WHERE state = ?", (State.SENDING.value,)).fetchall()
            return [(_lead_of(db, row["lead_id"]), read_mail(row)) for row in rows]

        return await self.database.run(operation)

    async def starts(self, since_ms: int) -> list[tuple[int, str, str]]:
        """The sends that started since then, as (ms, place, name); forgets older ones."""

        def operation(db: sqlite3.Connection) -> list[tuple[int, str, str]]:
            db.execute("DELETE FROM starts WHERE at_ms < ?", (since_ms,))
            return [tuple(row) for row in db.execute("SELECT at_ms, address, name FROM starts ORDER BY at_ms")]

        return await self.database.run(operation)

    async def fact(self, name: str) -> str | None:
        """A stored fact."""

        def operation(db: sqlite3.Connection) -> str | None:
            row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
            return str(row[0]) if row else None

        return await self.database.run(operation)

    async def set_fact(self, name: str, value: str) -> None:
        """Stores a fact, so that no file holds what it was before: an address may have been taken out of it."""

        def operation(db: sqlite3.Connection) -> None:
            db.execute("REPLACE INTO facts VALUES (?, ?)", (name, value))

        await self.database.run(operation, scrub=True)

    async def check_format(self) -> None:
        """Raises `SpoolUnavailable` when the file was written by a newer version."""
        found = await self.fact("format")
        if found is None or int(found) < FORMAT:
            await self.set_fact("format", str(FORMAT))
        elif int(found) > FORMAT:
            raise SpoolUnavailable("newer_format", f"the spool has format {found}, this code reads up to {FORMAT}")


def _lead_of(db: sqlite3.Connection, lead_id: str) -> SpooledLead:
    return read_lead(db.execute("SELECT * FROM leads WHERE lead_id = ?", (lead_id,)).fetchone())


def _work_of(db: sqlite3.Connection, lead: SpooledLead) -> Work:
    mails = db.execute("SELECT * FROM mails WHERE lead_id = ?", (lead.lead_id,))
    outcomes = db.execute("SELECT entry FROM outcomes WHERE lead_id = ? ORDER BY seq", (lead.lead_id,))
    return Work(lead, tuple(map(read_mail, mails)), tuple(map(read_outcome, outcomes)))


def _columns(mail: SpooledMail) -> tuple[object, ...]:
    return (
        mail.email_id,
        mail.lead_id,
        mail.kind.value,
        mail.subscriber_id,
        mail.name,
        mail.address,
        mail.state.value,
        mail.attempts,
        mail.unknowns,
        mail.phase,
        mail.at_ms,
        pack(mail.request),
    )


def _add_outcomes(db: sqlite3.Connection, lead_id: str, outcomes: Sequence[Outcome]) -> None:
    db.executemany(
        "INSERT INTO outcomes (email_id, lead_id, entry) VALUES (?, ?, ?)",
        [(item.email_id, lead_id, pack(item)) for item in outcomes],
    )
