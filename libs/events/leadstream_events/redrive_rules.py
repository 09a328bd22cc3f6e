"""What may be done with a dead letter or a stuck mail, and what then follows: pure.

A mail is requested anew, with its attempts counted from zero and the earlier ones noted; its row keeps the number of
attempts whose outcome was never learned, so that a mail that may have gone twice stays marked. An entry that another
group gave up is handed to that group alone: the others have finished it, and would count it twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from leadstream_events import keys
from leadstream_events.envelope import Event, make_event
from leadstream_events.ledger import Row, State
from leadstream_events.schemas.events import (
    DeadLetterDropped,
    DeadLetterRedriven,
    EmailFailed,
    EmailRequested,
    MailSettled,
)

if TYPE_CHECKING:
    from leadstream_events.dead_letters import Letter

# A second body under a used idempotency key, taken while Redis was away: the letter is the only place that has it.
IDEMPOTENCY_CONFLICT = "idempotency_conflict"
_ENDED = (State.FAILED, State.HELD)


class Refusal(StrEnum):
    """Why nothing was done. `TEXT` says it to a person, with the mend."""

    ALREADY = "already"
    SENT = "sent"
    UNDER_WAY = "under_way"
    NOT_HELD = "not_held"
    HELD = "held"
    NOTHING_LEFT = "nothing_left"
    REMOVED = "subscriber_removed"
    INACTIVE = "subscriber_inactive"
    SUPPRESSED = "suppressed"
    GONE = "entry_gone"
    OTHER_BODY = "other_body"
    UNREAD = "not_archived"
    BUSY = "busy"
    ERASED = "erased"


TEXT = {
    Refusal.ALREADY: "It was redriven, dropped or settled already.",
    Refusal.SENT: "The mail was sent meanwhile: drop the letter.",
    Refusal.UNDER_WAY: "The mail is on its way already.",
    Refusal.NOT_HELD: "Only a held mail can be settled.",
    Refusal.HELD: "Nobody knows whether the mail was sent: settle it as sent or not sent instead.",
    Refusal.NOTHING_LEFT: "The subscriber has no purchased leads left: raise the limit, then redrive.",
    Refusal.REMOVED: "The subscriber was removed: drop the letter.",
    Refusal.INACTIVE: "The subscriber is not active: activate it, then redrive.",
    Refusal.SUPPRESSED: "The address is suppressed: release it or correct it, then redrive.",
    Refusal.ERASED: "The lead was erased, so nothing is sent for it any more: drop the letter.",
    Refusal.GONE: "The entry is not in its stream any more, so its group cannot get it again.",
    Refusal.OTHER_BODY: "Another body came first under this key: submit this one as a lead of its own, then drop it.",
    Refusal.UNREAD: "A consumer group has not read this letter yet: try again once it has.",
    Refusal.BUSY: "Somebody else is doing it right now.",
}


class How(StrEnum):
    """What becomes of the entry: requested anew, handed to its group again, or nothing."""

    APPEND = "append"
    DELIVER = "deliver"
    END = "end"


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that may be stuck: its row as it is, and the request it came from, if that can still be read."""

    lead_id: str
    email_id: str
    row: Row
    request: EmailRequested | None
    request_id: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does it, and why."""

    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `lua/redrive.lua` is to carry out. `row` is what the mail's row becomes."""

    how: How
    outcomes: tuple[Event, ...]
    row: Row | None = None
    again: Event | None = None


def redrive(
    letter: Letter | None, mail: Mail | None, actor: Actor, now: datetime, lease_s: float, *, held_back: bool = False
) -> Plan | Refusal:
    """A mail is requested again, any other entry delivered again to its group.

    `held_back`: a mail that was skipped, because its address got none at the time, may begin again too.
    """
    if mail is None:
        if letter is None:
            return Refusal.ALREADY
        if letter.cause == IDEMPOTENCY_CONFLICT:  # its entry is the first body's: this one would be deleted unread
            return Refusal.OTHER_BODY
        return Plan(How.DELIVER, (_redriven(letter, None, actor, now),)) if letter.fields else Refusal.GONE
    refusal = None if held_back and mail.row.state is State.SKIPPED else _not_stuck(letter, mail, now, lease_s)
    if refusal:
        return refusal
    if mail.request is None:
        return Refusal.GONE
    row = mail.row
    told = _redriven(letter, mail, actor, now)
    request = mail.request.model_copy(
        update={
            "redrives": mail.request.redrives + 1,
            "attempts_before": mail.request.attempts_before + row.attempts,
            "reservation": reservation(mail),
        }
    )
    again = make_event(request, subject=mail.lead_id, now=now, cause=told.id, trace=mail.trace)
    unknowns = row.unknowns + (row.state is State.SENDING and row.phase == "data")
    return Plan(How.APPEND, (told,), Row(State.REQUESTED, 0, unknowns, at_ms=_ms(now)), again)


def _not_stuck(letter: Letter | None, mail: Mail, now: datetime, lease_s: float) -> Refusal | None:
    state = mail.row.state
    if state in (State.SENT, State.SKIPPED):
        return Refusal.SENT if letter else Refusal.ALREADY
    if letter is None and state not in _ENDED:
        return Refusal.UNDER_WAY
    if state is State.SENDING and _ms(now) - mail.row.at_ms < lease_s * 1000:
        return Refusal.UNDER_WAY
    return None


def reservation(mail: Mail) -> int:
    """The number of the reservation that the redriven mail has: one that ended without being sent gave back its own."""
    number = mail.request.reservation if mail.request else 0
    return number + gave_back(mail)


def gave_back(mail: Mail) -> bool:
    """True when the mail ended without being sent, so that its purchased lead was given back, or will be."""
    return mail.row.state in (State.FAILED, State.SKIPPED)


def drop(letter: Letter, mail: Mail | None, actor: Actor, now: datetime) -> Plan | Refusal:
    """Closes a letter for good. A mail that was given up half way fails, so that its purchased lead is given back."""
    state = mail.row.state if mail else None
    if state is State.HELD:
        return Refusal.HELD
    data = DeadLetterDropped(**_base(letter, mail), by=actor.by, reason=actor.reason)
    told = _event(data, letter.lead_id, letter.event_id, letter.trace, now)
    if mail is None or mail.request is None or state in (State.SENT, State.SKIPPED, State.FAILED):
        return Plan(How.END, (told,), mail.row if mail else None)
    failed = EmailFailed(**_of_mail(mail.request), attempt=mail.row.attempts, cause=letter.cause)
    ended = replace(mail.row, state=State.FAILED, owner="-", at_ms=_ms(now))
    return Plan(How.END, (told, _event(failed, mail.lead_id, told.id, mail.trace, now)), ended)


def settle(letter: Letter | None, mail: Mail, *, sent: bool, actor: Actor, now: datetime) -> Plan | Refusal:
    """Ends a held mail as a person found it: sent, which counts, or not sent."""
    if mail.row.state is not State.HELD:
        return Refusal.NOT_HELD
    if mail.request is None:
        return Refusal.GONE
    data = MailSettled(**_of_mail(mail.request), sent=sent, attempt=mail.row.attempts, by=actor.by, reason=actor.reason)
    told = _event(data, mail.lead_id, mail.request_id, mail.trace, now)
    state = State.SENT if sent else State.FAILED
    return Plan(How.END, (told,), replace(mail.row, state=state, owner="-", at_ms=_ms(now)))


def _of_mail(request: EmailRequested) -> dict[str, Any]:
    return {name: getattr(request, name) for name in ("email_id", "kind", "subscriber_id", "reservation")}


def _base(letter: Letter | None, mail: Mail | None) -> dict[str, str | None]:
    data = letter.data if letter else None
    request = mail.request if mail else None
    return {
        "dead_entry": letter.entry_id if letter else "",
        "group": letter.group if letter else keys.MAILER,
        "cause": letter.cause if letter else "",
        "email_id": mail.email_id if mail else (data.email_id if data else None),
        "subscriber_id": request.subscriber_id if request else (data.subscriber_id if data else None),
    }


def _redriven(letter: Letter | None, mail: Mail | None, actor: Actor, now: datetime) -> Event:
    before = mail.request.attempts_before + mail.row.attempts if mail and mail.request else 0
    data = DeadLetterRedriven(**_base(letter, mail), attempts=before, by=actor.by, reason=actor.reason)
    subject = mail.lead_id if mail else (letter.lead_id if letter else "")
    cause = letter.event_id if letter else (mail.request_id if mail else "")
    trace = mail.trace if mail else (letter.trace if letter else "")
    return _event(data, subject, cause, trace, now)


def _event(
    data: DeadLetterRedriven | DeadLetterDropped | EmailFailed | MailSettled,
    subject: str,
    cause: str,
    trace: str,
    now: datetime,
) -> Event:
    return make_event(data, subject=subject, now=now, cause=cause, trace=trace)


def _ms(now: datetime) -> int:
    return int(now.timestamp() * 1000)
