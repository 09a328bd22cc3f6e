"""Leads with mixed outcomes, appended the way the other services do; every run of a seed makes the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from leadstream_events import keys
from leadstream_events.envelope import Event, flat, make_event
from leadstream_events.ids import email_id
from leadstream_events.schemas import events as e
from leadstream_events.schemas.lead import Lead

# Across the end of a year, so that every bucket of the series changes on the way.
START = datetime(2026, 12, 31, 22, 30, tzinfo=UTC)
STEP = timedelta(seconds=23)
SUBSCRIBERS = ("sub-1", "sub-2", "sub-3")

FAILURE = e.SmtpFailure(permanent=False, phase="rcpt", code=451)

Placed = tuple[str, Event]


def _outcomes(random: Random, mail: dict[str, Any], now: datetime) -> Iterator[e.EventData]:
    for attempt in range(1, random.choice((1, 1, 1, 2, 3))):
        if random.random() < 0.5:
            yield e.EmailDeferred(**mail, attempt=attempt, failure=FAILURE, next_attempt_at=now)
        else:
            yield e.EmailOutcomeUnknown(**mail, attempt=attempt, policy="resend")
    end = random.choice(("sent", "sent", "sent", "refused", "used up", "skipped", "bounced", "complained"))
    if end == "skipped":
        yield e.EmailSkipped(**mail, reason=random.choice(("suppressed", "quota")))
    elif end == "refused":
        yield e.EmailFailed(**mail, attempt=1, cause="refused", failure=FAILURE)
    elif end == "used up":
        yield e.EmailFailed(**mail, attempt=4, cause="retries_used_up")
    else:
        yield e.EmailSent(**mail, attempt=1, code=250, reply="2.0.0 ok", message_id="<m@example.com>")
    if end == "bounced":
        yield e.EmailBounced(**mail, bounce_class="mailbox")
    if end == "complained":
        yield e.EmailComplained(**mail, feedback_type="abuse")


def one_lead(random: Random, number: int) -> Iterator[Placed]:
    """Everything that happens to one lead, in order, with the stream each event belongs to."""
    now = START + STEP * number
    lead_id = f"lead-{number:06}"

    def event(data: e.EventData) -> Event:
        return make_event(data, subject=lead_id, now=now + timedelta(milliseconds=random.randrange(90_000)))

    yield keys.LEADS, event(e.LeadReceived(lead=Lead(full_name="Dana Example", email="dana@example.com")))
    for subscriber in (None, *random.sample(SUBSCRIBERS, random.randrange(4))):
        kind = e.Kind.NOTIFICATION if subscriber else e.Kind.WELCOME
        mail: dict[str, Any] = {
            "email_id": email_id(lead_id, kind, subscriber or "lead"),
            "kind": kind,
            "subscriber_id": subscriber,
        }
        yield keys.EMAILS, event(e.EmailRequested(**mail, to="someone@example.com", lead_entry="0-1"))
        for data in _outcomes(random, mail, now):
            yield keys.OUTCOMES, event(data)
    if random.random() < 0.05:
        yield keys.LEADS, event(e.LeadErased(by="admin"))


def leads(count: int, *, seed: int = 1, first: int = 0) -> list[Placed]:
    """The events of `count` leads."""
    random = Random(seed)
    return [placed for number in range(first, first + count) for placed in one_lead(random, number)]


async def append(client: Any, placed: Sequence[Placed], *, partition: int = 0, chunk: int = 200) -> None:
    """Appends the events to their streams, a pipeline per chunk."""
    for start in range(0, len(placed), chunk):
        async with client.pipeline(transaction=False) as pipe:
            for stream, event in placed[start : start + chunk]:
                pipe.execute_command("XADD", keys.stream(partition, stream), "*", *flat(event))
            await pipe.execute()
