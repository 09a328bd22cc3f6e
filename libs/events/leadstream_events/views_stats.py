"""Counters as the projections hold them: totals, per subscriber, and over time.

They follow the log with a lag (`views_streams`), and are exact for what they have seen. `leads_sent` and
`leads_remaining` are not projections: they come from the quota that fan-out itself uses. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from leadstream_events import keys
from leadstream_events.log import StreamLog
from leadstream_events.schemas.subscriber import Subscriber
from leadstream_events.subscribers import SubscriberStore, Usage

MAX_BUCKETS = 1_500


class Bucket(StrEnum):
    """The width of a point of a series."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


# Per width: the step, and the strftime forms of the hash's name and of the field in it.
_SHAPES: dict[Bucket, tuple[timedelta, str, str]] = {
    Bucket.MINUTE: (timedelta(minutes=1), "minute:%Y%m%d", "%H:%M"),
    Bucket.HOUR: (timedelta(hours=1), "hour:%Y%m", "%dT%H"),
    Bucket.DAY: (timedelta(days=1), "day:%Y", "%m-%d"),
}
_DEFAULT_SPAN = {Bucket.MINUTE: timedelta(hours=1), Bucket.HOUR: timedelta(days=2), Bucket.DAY: timedelta(days=30)}


@dataclass(frozen=True, slots=True)
class Totals:
    """Everything counted so far. `counters` holds also `<metric>:<kind>`, `failed:<cause>`, `skipped:<reason>`."""

    leads: int
    requested: int
    sent: int
    deferred: int
    failed: int
    skipped: int
    unknown: int
    bounced: int
    complained: int
    attempts: int
    counters: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SubscriberStats:
    """What became of one subscriber's mails. `name` is None for a removed subscriber."""

    subscriber_id: str
    name: str | None
    active: bool
    requested: int
    sent: int
    deferred: int
    failed: int
    skipped: int
    unknown: int
    bounced: int
    complained: int
    last_sent: datetime | None
    leads_sent: int
    leads_remaining: int | None


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket: its start, and the count of every metric that is not zero."""

    start: datetime
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Series:
    """Points from `since` to `until`, all of them, oldest first."""

    bucket: Bucket
    since: datetime
    until: datetime
    points: tuple[Point, ...]


def remaining(subscriber: Subscriber, usage: Usage) -> int | None:
    """Purchased leads that are neither sent nor reserved; None when there is no limit."""
    if subscriber.leads_purchased is None:
        return None
    return max(0, subscriber.leads_purchased - usage.sent - usage.reserved)


async def _hashes(log: StreamLog, name: str, parts: tuple[str, ...] = ("",)) -> list[dict[bytes, bytes]]:
    """The live generation's hashes of a projection, partition by partition.

    Read again when a rebuild has put another generation in its place meanwhile: the old one is being deleted then.
    """
    numbers = range(log.partitions)
    generations: list[Any] = []
    before: list[Any] | None = None
    found: list[dict[bytes, bytes]] = []
    while generations != before:
        before = generations
        async with log.client.pipeline(transaction=False) as pipe:
            if before:
                for number, generation in zip(numbers, before, strict=True):
                    for part in parts:
                        pipe.hgetall(keys.projection(number, name, int(generation or 1), part))
            for number in numbers:
                pipe.hget(keys.projection_pointer(number), name)
            replies: list[Any] = await pipe.execute()
        found, generations = replies[: -len(numbers)], replies[-len(numbers) :]
    return found


async def totals(log: StreamLog) -> Totals:
    """Returns the counters of all partitions together."""
    sums: dict[str, int] = {}
    for found in await _hashes(log, "totals"):
        for name, value in found.items():
            sums[name.decode()] = sums.get(name.decode(), 0) + int(value)
    named = {name: sums.get(name, 0) for name in Totals.__dataclass_fields__ if name != "counters"}
    return Totals(**named, counters={name: sums[name] for name in sorted(sums)})


async def subscriber_counts(log: StreamLog) -> dict[str, dict[str, Any]]:
    """Returns per subscriber id its counters and `last_sent` (RFC 3339 text), of all partitions together."""
    out: dict[str, dict[str, Any]] = {}
    for found in await _hashes(log, "subscribers"):
        for name, value in found.items():
            subscriber_id, _, metric = name.decode().partition(":")
            mine = out.setdefault(subscriber_id, {})
            if metric == "last_sent":
                mine[metric] = max(mine.get(metric, ""), value.decode())
            else:
                mine[metric] = mine.get(metric, 0) + int(value)
    return out


async def subscriber_stats(log: StreamLog, store: SubscriberStore) -> tuple[SubscriberStats, ...]:
    """Returns the counters of every subscriber, oldest first, then of removed ones that counted something."""
    counts = await subscriber_counts(log)
    known = {subscriber.id: subscriber for subscriber in await store.all()}
    ids = [*known, *sorted(set(counts) - set(known))]
    usage = await store.usage(ids) if ids else {}
    return tuple(_stats(each, known.get(each), counts.get(each, {}), usage[each]) for each in ids)


def _stats(
    subscriber_id: str, subscriber: Subscriber | None, counts: Mapping[str, Any], usage: Usage
) -> SubscriberStats:
    metrics = ("requested", "sent", "deferred", "failed", "skipped", "unknown", "bounced", "complained")
    last = counts.get("last_sent")
    return SubscriberStats(
        subscriber_id=subscriber_id,
        name=subscriber.name if subscriber else None,
        active=subscriber.active if subscriber else False,
        **{metric: int(counts.get(metric, 0)) for metric in metrics},
        last_sent=datetime.fromisoformat(last) if last else usage.last_sent,
        leads_sent=usage.sent,
        leads_remaining=remaining(subscriber, usage) if subscriber else None,
    )


def buckets_between(bucket: Bucket, since: datetime, until: datetime) -> list[datetime]:
    """The starts of the buckets from the one that holds `since` to the last one before `until`.

    ValueError when that is more than `MAX_BUCKETS`, or nothing.
    """
    step = _SHAPES[bucket][0]
    start = since.astimezone(UTC).replace(second=0, microsecond=0)
    if bucket is not Bucket.MINUTE:
        start = start.replace(minute=0)
    if bucket is Bucket.DAY:
        start = start.replace(hour=0)
    if until <= start:
        raise ValueError("since must be before until")
    count = -(-(until - start) // step)
    if count > MAX_BUCKETS:
        raise ValueError(f"asks for {count} points; at most {MAX_BUCKETS} are given: use a wider bucket")
    return [start + step * number for number in range(count)]


async def series(
    log: StreamLog, bucket: Bucket, *, now: datetime, since: datetime | None = None, until: datetime | None = None
) -> Series:
    """Returns the counts per bucket; without bounds the last hour, two days or thirty days. ValueError on bad bounds.

    Minutes are kept for eight days.
    """
    end = until or now
    try:
        begin = since or end - _DEFAULT_SPAN[bucket]
        starts = buckets_between(bucket, begin, end)
    except OverflowError:
        raise ValueError("is out of range") from None
    _, hash_form, field_form = _SHAPES[bucket]
    parts = tuple(dict.fromkeys(start.strftime(hash_form) for start in starts))
    sums: dict[tuple[str, str], dict[str, int]] = {}
    for number, found in enumerate(await _hashes(log, "series", parts)):
        for name, value in found.items():
            label, _, metric = name.decode().partition(" ")
            mine = sums.setdefault((parts[number % len(parts)], label), {})
            mine[metric] = mine.get(metric, 0) + int(value)
    points = tuple(Point(at, sums.get((at.strftime(hash_form), at.strftime(field_form)), {})) for at in starts)
    return Series(bucket, begin, end, points)
