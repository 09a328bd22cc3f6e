"""How fan-out requests a mail: pure."""

from __future__ import annotations

from datetime import datetime

from leadstream_events import keys
from leadstream_events.effects import Effect, append, once
from leadstream_events.envelope import Event, make_event
from leadstream_events.ledger import Row, State
from leadstream_events.recipients import Candidate
from leadstream_events.schemas.events import EmailRequested


def request(
    candidate: Candidate, lead_event: Event, lead_entry: str, partition: int, now: datetime
) -> tuple[Effect, ...]:
    """The effects that request one mail, once ever: a lead delivered again, or read again after a `seek`, adds none."""
    data = EmailRequested(
        email_id=candidate.email_id,
        kind=candidate.kind,
        subscriber_id=candidate.subscriber_id,
        to=candidate.to,
        lead_entry=lead_entry,
    )
    event = make_event(data, subject=lead_event.subject, now=now, cause=lead_event.id, trace=lead_event.trace)
    ledger = keys.ledger(partition, lead_event.subject)
    row = str(Row(State.REQUESTED, at_ms=int(now.timestamp() * 1000)))
    return once(ledger, candidate.email_id, row, [append(keys.stream(partition, keys.EMAILS), event)])
