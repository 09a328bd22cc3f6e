"""How fan-out requests a mail, and what a refused one says of its address: pure."""

from __future__ import annotations

from datetime import datetime

from leadstream_events import keys
from leadstream_events.effects import Effect, add_member, append, once
from leadstream_events.envelope import Event, make_event
from leadstream_events.ledger import Row, State
from leadstream_events.recipients import Candidate
from leadstream_events.reports import Report
from leadstream_events.schemas.events import EmailFailed, EmailRequested, Kind
from leadstream_events.sealed_leads import needs_key
from leadstream_mail.bounces.in_session import refusal_class


def request(
    candidate: Candidate, lead_event: Event, lead_entry: str, partition: int, now: datetime, *, reserved: bool
) -> tuple[Effect, ...]:
    """The effects that request one mail, once ever: a lead delivered again, or read again after a `seek`, adds none.

    A mail to a sealed lead itself does not name his address, which is sealed with the rest. With one that is not
    `reserved` yet its purchased lead is set aside: for a subscriber without a limit, who is never refused one.
    """
    data = EmailRequested(
        email_id=candidate.email_id,
        kind=candidate.kind,
        subscriber_id=candidate.subscriber_id,
        to="" if candidate.kind is Kind.WELCOME and needs_key(lead_event) else candidate.to,
        lead_entry=lead_entry,
    )
    event = make_event(data, subject=lead_event.subject, now=now, cause=lead_event.id, trace=lead_event.trace)
    ledger = keys.ledger(partition, lead_event.subject)
    row = str(Row(State.REQUESTED, at_ms=int(now.timestamp() * 1000)))
    effects = [append(keys.stream(partition, keys.EMAILS), event)]
    if candidate.subscriber_id and not reserved:
        effects.append(add_member(keys.reserved(candidate.subscriber_id), candidate.email_id))
    return once(ledger, candidate.email_id, row, effects)


def refusal(event: Event) -> Report | None:
    """What a mail that was given up says of its recipient; None when it says nothing."""
    data = event.data
    found = refusal_class(data.failure) if isinstance(data, EmailFailed) else None
    if found is None or not isinstance(data, EmailFailed) or data.failure is None:
        return None
    return Report(
        lead_id=event.subject,
        email_id=data.email_id,
        report_class=found,
        source="session",
        report_id=f"session-{event.id}",
        at=event.time,
        code=data.failure.code,
        enhanced=data.failure.enhanced,
        detail=data.failure.line,
    )
