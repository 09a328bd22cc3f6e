"""One line per event of a lead, with what the SMTP server said; no address and nothing of the lead's own data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from leadstream_events import keys
from leadstream_events.log import Entry
from leadstream_events.schemas.events import (
    DeadLetterDropped,
    DeadLetterRedriven,
    EmailBounced,
    EmailComplained,
    EmailDeferred,
    EmailFailed,
    EmailOutcomeUnknown,
    EmailSent,
    EmailSkipped,
    EventData,
    MailSettled,
    SmtpFailure,
)


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened. `stream` and `entry_id` say where it is stored."""

    time: datetime | None
    event: str
    stream: str
    entry_id: str
    attempt: int | None = None
    code: int | None = None
    enhanced: str | None = None
    phase: str | None = None
    reply: str | None = None
    cause: str | None = None
    next_attempt_at: datetime | None = None
    possible_duplicate: bool = False
    by: str | None = None


def _failed(
    bare: Moment, attempt: int, failure: SmtpFailure | None, cause: str = "", due: datetime | None = None
) -> Moment:
    if failure is None:
        return replace(bare, attempt=attempt, cause=cause or None)
    return replace(
        bare,
        attempt=attempt,
        code=failure.code,
        enhanced=failure.enhanced,
        phase=failure.phase,
        reply=failure.line or None,
        cause=cause or failure.cause or None,
        next_attempt_at=due,
    )


def _told(bare: Moment, data: EventData) -> Moment:
    match data:
        case EmailSent():
            twice = data.after_unknown
            return replace(bare, attempt=data.attempt, code=data.code, reply=data.reply, possible_duplicate=twice)
        case EmailDeferred():
            return _failed(bare, data.attempt, data.failure, due=data.next_attempt_at)
        case EmailFailed():
            return _failed(bare, data.attempt, data.failure, data.cause)
        case EmailOutcomeUnknown():
            reply = data.detail or None
            return replace(bare, attempt=data.attempt, reply=reply, cause=data.policy, possible_duplicate=True)
        case EmailSkipped():
            return replace(bare, cause=data.reason)
        case EmailBounced():
            reply = data.detail or None
            return replace(bare, code=data.code, enhanced=data.enhanced, reply=reply, cause=data.bounce_class)
        case EmailComplained():
            return replace(bare, cause=data.feedback_type)
        case DeadLetterRedriven() | DeadLetterDropped():
            return replace(bare, cause=data.cause or None, reply=data.reason or None, by=data.by)
        case MailSettled():
            found = "sent" if data.sent else "not sent"
            return replace(bare, attempt=data.attempt, cause=found, reply=data.reason or None, by=data.by)
        case _:
            return bare


def moment(entry: Entry) -> Moment:
    """Returns the line for an entry; one that cannot be read shows its cause."""
    name = keys.name_of(entry.stream)
    if entry.event is None:
        cause = entry.problem.cause if entry.problem else None
        return Moment(None, "unreadable", name, entry.entry_id, cause=cause)
    return _told(Moment(entry.event.time, entry.event.type, name, entry.entry_id), entry.event.data)


def mail_of(entry: Entry) -> str | None:
    """The mail that an entry tells of, or None when it tells of the lead as a whole."""
    return getattr(entry.event.data, "email_id", None) if entry.event else None


def attempts_in(entries: Iterable[Entry]) -> int:
    """The highest attempt that these entries tell of."""
    return max((getattr(entry.event.data, "attempt", 0) for entry in entries if entry.event), default=0)
