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
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from leadstream_events.envelope import rfc3339
from leadstream_events.keys import EMAILS, LEADS, OUTCOMES, PROJECTION_PREFIX

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
ENDS_OF_ATTEMPTS = frozenset({"EmailSent", "EmailDeferred", "EmailOutcomeUnknown"})
REPORTED = frozenset({"EmailBounced", "EmailComplained"})
NOT_IN_SERIES = frozenset({"bounced", "complained"})

MINUTES_KEPT_S = 8 * 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Countable(Protocol):
    """What counting asks of an event: an `Event`, or what `quick_decode.py` makes of an entry. `data` has the
    attributes of the event's model; which model that is, only `type` says."""

    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def time(self) -> datetime: ...
    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> Any: ...


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
    `of_leads`: its parts are leads, and end when trimming forgets the lead.
    """

    name: str
    version: int
    streams: tuple[str, ...]
    increments: Callable[[Countable, Place], Increments]
    lifetimes_s: Mapping[str, int] = field(default_factory=dict)
    of_leads: bool = False

    @property
    def group(self) -> str:
        """Its consumer group."""
        return PROJECTION_PREFIX + self.name

    def lifetime_s(self, part: str) -> int | None:
        """Seconds that a part is kept after its last change; None is for ever."""
        return self.lifetimes_s.get(part.partition(":")[0])


def mail_metric(event: Countable) -> str | None:
    """What an event of a mail counts as, or None.

    A redriven mail was counted as requested before. A mail that a person settled counts as what the person found.
    However many reports come back, a mail bounces once and is complained of once.
    """
    kind = event.type
    if kind in REPORTED and event.data.again:
        return None
    if kind == "MailSettled":
        return "sent" if event.data.sent else "failed"
    if kind == "EmailRequested" and event.data.redrives:
        return None
    return MAIL_METRICS.get(kind)


def totals(event: Countable, place: Place) -> Increments:
    """Everything, added up."""
    kind, data = event.type, event.data
    if kind == "LeadReceived":
        return _totals(METRICS[kind], None, None, False)
    metric = mail_metric(event)
    if metric is None:
        return ()
    detail: str | None = None
    if kind == "EmailFailed":
        detail = data.cause
    elif kind == "MailSettled" and not data.sent:
        detail = "settled"
    elif kind == "EmailSkipped":
        detail = data.reason
    return _totals(metric, data.kind, detail, is_attempt(event))


@lru_cache(maxsize=4096)
def _totals(metric: str, mail_kind: str | None, detail: str | None, attempt: bool) -> Increments:
    fields = [metric]
    if mail_kind is not None:
        fields.append(f"{metric}:{mail_kind}")
    if detail is not None:
        fields.append(f"{metric}:{detail}")
    if attempt:
        fields.append("attempts")
    return tuple(Increment("", name) for name in fields)


def is_attempt(event: Countable) -> bool:
    """True when the event ends an SMTP attempt. A failure without an SMTP answer (retries used up) had none."""
    if event.type == "EmailFailed":
        return event.data.failure is not None
    return event.type in ENDS_OF_ATTEMPTS


def subscribers(event: Countable, place: Place) -> Increments:
    """What each subscriber got. The mail to the lead itself belongs to no subscriber."""
    metric = mail_metric(event)
    if metric is None:
        return ()
    subscriber = event.data.subscriber_id
    if subscriber is None:
        return ()
    counted = _of_subscriber(subscriber, metric)
    if metric == "sent":
        return *counted, Increment("", f"{subscriber}:last_sent", 1, _stamp(event.time))
    return counted


@lru_cache(maxsize=16_384)
def _of_subscriber(subscriber: str, metric: str) -> Increments:
    return (Increment("", f"{subscriber}:{metric}"),)


def _stamp(time: datetime) -> str:
    """`rfc3339(time)`; most events share their second with others."""
    since = time - _EPOCH
    return f"{_second(since.days * 86_400 + since.seconds)}{time.microsecond // 1000:03}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return rfc3339(_EPOCH + timedelta(seconds=seconds))[: -len("000Z")]


def leads(event: Countable, place: Place) -> Increments:
    """One lead's mails counted, and a reference to every event of the lead."""
    if event.type not in TIMELINE:
        return ()
    reference = Increment(event.subject, f"@{event.id}", value=f"{place.stream} {place.entry_id}")
    metric = mail_metric(event)
    return (Increment(event.subject, metric), reference) if metric else (reference,)


def series(event: Countable, place: Place) -> Increments:
    """Counts by minute, hour and day of the event's own time, in UTC."""
    metric = METRICS[event.type] if event.type == "LeadReceived" else mail_metric(event)
    if metric is None or metric in NOT_IN_SERIES:
        return ()
    since = event.time - _EPOCH
    return _buckets(since.days * 1440 + since.seconds // 60, metric, event.data.kind if metric == "sent" else None)


@lru_cache(maxsize=4096)
def _buckets(minutes: int, metric: str, mail_kind: str | None) -> Increments:
    """`minutes` since 1970."""
    minute = _EPOCH + timedelta(minutes=minutes)
    buckets = (
        (f"minute:{minute:%Y%m%d}", f"{minute:%H:%M}"),
        (f"hour:{minute:%Y%m}", f"{minute:%dT%H}"),
        (f"day:{minute:%Y}", f"{minute:%m-%d}"),
    )
    metrics = (metric,) if mail_kind is None else (metric, f"{metric}:{mail_kind}")
    return tuple(Increment(part, f"{bucket} {each}") for part, bucket in buckets for each in metrics)


ALL_OF_A_LEAD = (LEADS, EMAILS, OUTCOMES)

TOTALS = Projection("totals", 1, ALL_OF_A_LEAD, totals)
SUBSCRIBERS = Projection("subscribers", 1, (EMAILS, OUTCOMES), subscribers)
PER_LEAD = Projection("leads", 1, ALL_OF_A_LEAD, leads, of_leads=True)
SERIES = Projection("series", 1, ALL_OF_A_LEAD, series, {"minute": MINUTES_KEPT_S})

PROJECTIONS = (TOTALS, SUBSCRIBERS, PER_LEAD, SERIES)
