"""How far the mails of a lead came, from its events alone: its ledger ended when it was trimmed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from leadstream_events.ledger import Row, State
from leadstream_events.log import Entry
from leadstream_events.schemas.events import (
    EmailDeferred,
    EmailFailed,
    EmailOutcomeUnknown,
    EmailRequested,
    EmailSent,
    EmailSkipped,
    MailSettled,
)


def rows_of(entries: Iterable[Entry]) -> dict[str, Row]:
    """The row of each mail as the events leave it; entries must come in the order of storage."""
    rows: dict[str, Row] = {}
    for entry in entries:
        mail = getattr(entry.event.data, "email_id", None) if entry.event else None
        if mail is not None:
            row = _after(rows.get(mail, Row(State.REQUESTED)), entry)
            if row is not None:
                rows[mail] = row
    return rows


def _after(row: Row, entry: Entry) -> Row | None:
    """The row after an event; None: the event says nothing about it."""
    assert entry.event is not None  # noqa: S101  -- the caller looked
    at_ms = int(entry.event.time.timestamp() * 1000)
    match entry.event.data:
        case EmailRequested():
            return Row(State.REQUESTED, 0, row.unknowns, at_ms=at_ms, entry=entry.entry_id)
        case EmailSent() as data:
            return replace(row, state=State.SENT, attempts=data.attempt, at_ms=at_ms)
        case EmailDeferred() as data:
            return replace(row, state=State.DEFERRED, attempts=data.attempt, at_ms=at_ms)
        case EmailFailed() as data:
            return replace(row, state=State.FAILED, attempts=data.attempt, at_ms=at_ms)
        case EmailSkipped():
            return replace(row, state=State.SKIPPED, at_ms=at_ms)
        case EmailOutcomeUnknown() as data:
            state = State.HELD if data.policy == "hold" else State.UNKNOWN
            return replace(row, state=state, attempts=data.attempt, unknowns=row.unknowns + 1, at_ms=at_ms)
        case MailSettled() as data:
            return replace(row, state=State.SENT if data.sent else State.FAILED, at_ms=at_ms)
        case _:
            return None
