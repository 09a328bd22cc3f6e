"""What the spool stores: leads, their mails, what became of each attempt, and the last known directory.

A mail's row has the states of the ledger (`leadstream_events.ledger`), so that a merge can carry it over as it is.
`FORMAT` is the version of the layout.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import msgspec

from leadstream_events.envelope import Event, decode
from leadstream_events.ledger import State
from leadstream_events.schemas.events import Kind, LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.sealed import Sealed
from leadstream_events.vault import Sealer

FILE = "spool.db"
FORMAT = 2
SCHEMA = """
CREATE TABLE IF NOT EXISTS leads (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, lead_id TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL,
  merge_id TEXT NOT NULL, event TEXT NOT NULL, in_doubt INTEGER NOT NULL, planned INTEGER NOT NULL DEFAULT 0,
  spooled_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS mails (
  email_id TEXT PRIMARY KEY, lead_id TEXT NOT NULL, kind TEXT NOT NULL, subscriber_id TEXT, name TEXT,
  address TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  unknowns INTEGER NOT NULL DEFAULT 0, phase TEXT NOT NULL DEFAULT '-', at_ms INTEGER NOT NULL,
  request TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS mails_of_lead ON mails (lead_id);
CREATE INDEX IF NOT EXISTS mails_due ON mails (state, at_ms);
CREATE TABLE IF NOT EXISTS outcomes (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, email_id TEXT NOT NULL, lead_id TEXT NOT NULL, entry TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS outcomes_of_lead ON outcomes (lead_id);
CREATE TABLE IF NOT EXISTS starts (at_ms INTEGER NOT NULL, address TEXT NOT NULL, name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS starts_by_time ON starts (at_ms);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

# What files of format 1 lack: the wrapped key of the sealed lead, and once it is erased the fields of its LeadErased.
ADDED = (("leads", "key", "TEXT NOT NULL DEFAULT ''"), ("leads", "erased", "TEXT NOT NULL DEFAULT ''"))

Fields = dict[str, str]


@dataclass(frozen=True)
class SpooledLead:
    """A lead that Redis did not take. `in_doubt`: an append was sent, and its answer never came.

    `key` is the wrapped key of the sealed lead, '' for one in the clear; `erased` the fields of its LeadErased.
    """

    seq: int
    lead_id: str
    fingerprint: str
    merge_id: str
    fields: Fields
    in_doubt: bool
    planned: bool
    key: str = ""
    erased: Fields | None = None

    @cached_property
    def event(self) -> Event:
        """The LeadReceived event, read from its stored fields as a consumer of the stream reads it."""
        return decode({name.encode(): value.encode() for name, value in self.fields.items()})

    def opened(self, sealer: Sealer) -> Lead | None:
        """Its data; None when it was erased, or its key-encryption key is not at hand."""
        data = sealer.open(self.event, self.key or None).data
        assert isinstance(data, LeadReceived)  # noqa: S101  -- only such events are spooled
        return None if isinstance(data.lead, Sealed) else data.lead


@dataclass(frozen=True, slots=True)
class SpooledMail:
    """One mail as far as the API has come with it. `at_ms`: the last change, or the next attempt while it waits.

    `address` is empty where the recipient is a sealed lead itself.
    """

    email_id: str
    lead_id: str
    kind: Kind
    subscriber_id: str | None
    name: str | None
    address: str
    state: State
    attempts: int
    unknowns: int
    phase: str
    at_ms: int
    request: Fields


@dataclass(frozen=True, slots=True)
class Outcome:
    """An event about a mail, to be appended by the merge. `when` and `stream`: see lua/merge.lua."""

    email_id: str
    when: str
    stream: str
    fields: Fields


def now_ms() -> int:
    """The wall clock in ms: the spool outlives the process, so no monotonic clock will do."""
    return int(datetime.now(UTC).timestamp() * 1000)


def pack(value: object) -> str:
    """JSON for a column."""
    return msgspec.json.encode(value).decode()


def read_lead(row: sqlite3.Row) -> SpooledLead:
    """A row of `leads`."""
    return SpooledLead(
        row["seq"],
        row["lead_id"],
        row["fingerprint"],
        row["merge_id"],
        msgspec.json.decode(row["event"], type=Fields),
        bool(row["in_doubt"]),
        bool(row["planned"]),
        row["key"],
        msgspec.json.decode(row["erased"], type=Fields) if row["erased"] else None,
    )


def read_mail(row: sqlite3.Row) -> SpooledMail:
    """A row of `mails`."""
    return SpooledMail(
        row["email_id"],
        row["lead_id"],
        Kind(row["kind"]),
        row["subscriber_id"],
        row["name"],
        row["address"],
        State(row["state"]),
        row["attempts"],
        row["unknowns"],
        row["phase"],
        row["at_ms"],
        msgspec.json.decode(row["request"], type=Fields),
    )


def read_outcome(row: sqlite3.Row) -> Outcome:
    """A row of `outcomes`."""
    return msgspec.json.decode(row["entry"], type=Outcome)
