"""What is counted: pure functions from one event to increments. Nothing here knows Redis, Faust or a clock.

Every increment can be applied in any order: counts add up, and of values the greatest stays. So counters depend on
which events were applied, each once, and not on who applied them when. Unknown event types count nothing.

To add a projection: write a function `(event, place) -> increments` and list it in `PROJECTIONS`. To change what a
projection counts: raise its version, and rebuild it.

| projection | part of the key | fields |
|---|---|---|
| `totals` | none | `<metric>`, `<metric>:<kind>`, `failed:<cause>`, `skipped:<reason>`, `attempts` |
| `subscribers` | none | `<subscriber id>:<metric>`, `<subscriber id>:last_sent` (RFC 3339) |
| `leads` | lead id | `<metric>`, `@<event id>` = `<stream> <entry id>`: the timeline, by reference |
| `series` | `minute:YYYYMMDD` | `HH:MM <metric>` (UTC, of the event's time; kept for 8 days) |
| | `hour:YYYYMM` | `DDTHH <metric>` |
| | `day:YYYY` | `MM-DD <metric>` |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, TypeAlias, cast

from leadstream_events.envelope import Event, rfc3339
from leadstream_events.keys import EMAILS, LEADS, OUTCOMES, PROJECTION_PREFIX
from leadstream_events.schemas import events as e

OfMail: TypeAlias = (
    e.EmailRequested
    | e.EmailSent
    | e.EmailDeferred
    | e.EmailFailed
    | e.EmailSkipped
    | e.EmailOutcomeUnknown
    | e.EmailBounced
    | e.EmailComplained
    | e.MailSettled
)

MAIL_METRICS = {
    "EmailRequested": "requested",
    "EmailSent": "sent",
    "EmailDeferred": "deferred",
    "EmailFailed": "failed",
    "EmailSkipped": "skipped",
    "EmailOutcomeUnknown": "unknown",
    "EmailBounced": "bounced",
    "EmailComplained": "complained",
}
METRICS = {"LeadReceived": "leads", **MAIL_METRICS}
TIMELINE = frozenset({"LeadErased", "MailSettled", "DeadLetterRedriven", "DeadLetterDropped", *METRICS})
NOT_IN_SERIES = frozenset({"bounced", "complained"})

MINUTES_KEPT_S = 8 * 86_400


class Place(NamedTuple):
    """Where an event is stored: the short name of its stream and its entry id."""

    stream: str
    entry_id: str


class Increment(NamedTuple):
    """One change of one field in one part of a projection: `by` is added, or the greater `value` stays."""

    part: str
    field: str
    by: int = 1
    value: str = ""


Increments = tuple[Increment, ...]


@dataclass(frozen=True, slots=True)
class Projection:
    """A named set of counters over some streams, consumed by a group of its own.

    `lifetimes_s`: the kind of a part (what stands before its colon) to the seconds it is kept after its last change.
    """

    name: str
    version: int
    streams: tuple[str, ...]
    increments: Callable[[Event, Place], Increments]
    lifetimes_s: Mapping[str, int] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """Its consumer group."""
        return PROJECTION_PREFIX + self.name

    def lifetime_s(self, part: str) -> int | None:
        """Seconds that a part is kept after its last change; None is for ever."""
        return self.lifetimes_s.get(part.partition(":")[0])


def mail_metric(event: Event) -> str | None:
    """What an event of a mail counts as, or None.

    A redriven mail was counted as requested before. A mail that a person settled counts as what the person found.
    """
    if isinstance(event.data, e.MailSettled):
        return "sent" if event.data.sent else "failed"
    if isinstance(event.data, e.EmailRequested) and event.data.redrives:
        return None
    return MAIL_METRICS.get(event.type)


def totals(event: Event, place: Place) -> Increments:
    """Everything, added up."""
    data = event.data
    metric = mail_metric(event)
    if isinstance(data, e.LeadReceived):
        return (Increment("", METRICS[event.type]),)
    if metric is None:
        return ()
    fields = [metric, f"{metric}:{cast(OfMail, data).kind}"]
    if isinstance(data, e.EmailFailed):
        fields.append(f"failed:{data.cause}")
    elif isinstance(data, e.MailSettled) and not data.sent:
        fields.append("failed:settled")
    elif isinstance(data, e.EmailSkipped):
        fields.append(f"skipped:{data.reason}")
    if is_attempt(data):
        fields.append("attempts")
    return tuple(Increment("", name) for name in fields)


def is_attempt(data: e.EventData) -> bool:
    """True when the event ends an SMTP attempt. A failure without an SMTP answer (retries used up) had none."""
    if isinstance(data, e.EmailFailed):
        return data.failure is not None
    return isinstance(data, e.EmailSent | e.EmailDeferred | e.EmailOutcomeUnknown)


def subscribers(event: Event, place: Place) -> Increments:
    """What each subscriber got. The mail to the lead itself belongs to no subscriber."""
    metric = mail_metric(event)
    if metric is None:
        return ()
    subscriber = cast(OfMail, event.data).subscriber_id
    if subscriber is None:
        return ()
    counted = Increment("", f"{subscriber}:{metric}")
    if metric == "sent":
        return counted, Increment("", f"{subscriber}:last_sent", value=rfc3339(event.time))
    return (counted,)


def leads(event: Event, place: Place) -> Increments:
    """One lead's mails counted, and a reference to every event of the lead."""
    if event.type not in TIMELINE:
        return ()
    reference = Increment(event.subject, f"@{event.id}", value=f"{place.stream} {place.entry_id}")
    metric = mail_metric(event)
    return (Increment(event.subject, metric), reference) if metric else (reference,)


def series(event: Event, place: Place) -> Increments:
    """Counts by minute, hour and day of the event's own time, in UTC."""
    metric = METRICS[event.type] if isinstance(event.data, e.LeadReceived) else mail_metric(event)
    if metric is None or metric in NOT_IN_SERIES:
        return ()
    metrics = (metric, f"sent:{cast(OfMail, event.data).kind}") if metric == "sent" else (metric,)
    return _buckets(event.time.astimezone(UTC).replace(second=0, microsecond=0), metrics)


@lru_cache(maxsize=4096)
def _buckets(minute: datetime, metrics: tuple[str, ...]) -> Increments:
    buckets = (
        (f"minute:{minute:%Y%m%d}", f"{minute:%H:%M}"),
        (f"hour:{minute:%Y%m}", f"{minute:%dT%H}"),
        (f"day:{minute:%Y}", f"{minute:%m-%d}"),
    )
    return tuple(Increment(part, f"{bucket} {metric}") for part, bucket in buckets for metric in metrics)


ALL_OF_A_LEAD = (LEADS, EMAILS, OUTCOMES)

TOTALS = Projection("totals", 1, ALL_OF_A_LEAD, totals)
SUBSCRIBERS = Projection("subscribers", 1, (EMAILS, OUTCOMES), subscribers)
PER_LEAD = Projection("leads", 1, ALL_OF_A_LEAD, leads)
SERIES = Projection("series", 1, ALL_OF_A_LEAD, series, {"minute": MINUTES_KEPT_S})

PROJECTIONS = (TOTALS, SUBSCRIBERS, PER_LEAD, SERIES)
