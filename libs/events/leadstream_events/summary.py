"""What the operator is told once a day: what became of the mails since the last time, and what needs a look now.

Counts are differences of the totals that were kept with the last summary; without one, they begin with the beginning.
A projection that was counted anew meanwhile may make a difference negative: then it is shown as 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from leadstream_events import keys
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client
from leadstream_events.schemas.subscriber import Subscriber
from leadstream_events.subscribers import SubscriberStore
from leadstream_events.views_stats import remaining, totals
from leadstream_events.views_streams import streams_view
from leadstream_events.writer import PipelinedWriter

FEW_LEADS = 5
_DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class LowQuota:
    """A subscriber whose purchased leads are about to end."""

    subscriber_id: str
    name: str
    remaining: int
    purchased: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts from `since` (None: the beginning) to `until`; and, as it is at `until`, what waits or needs a look.

    `lag`: entries that a group has not finished, by group, without those that wait for their time (`deferred_now`).
    """

    since: datetime | None
    until: datetime
    counts: Mapping[str, int]
    failed: Mapping[str, int] = field(default_factory=dict)
    deferred_now: int = 0
    dead_letters: int = 0
    suppressed: int = 0
    low: tuple[LowQuota, ...] = ()
    lag: Mapping[str, int] = field(default_factory=dict)


def is_low(left: int, purchased: int) -> bool:
    """True when a tenth or less is left, or hardly any."""
    return left <= FEW_LEADS or left * 10 <= purchased


def difference(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """What was counted since, and never less than nothing."""
    return {name: max(0, value - before.get(name, 0)) for name, value in now.items()}


def read_kept(state: Mapping[str, str]) -> tuple[datetime | None, dict[str, int]]:
    """When the last summary was, and its totals; nothing where that cannot be read."""
    try:
        return datetime.fromisoformat(state["until"]), {str(k): int(v) for k, v in json.loads(state["totals"]).items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        return None, {}


async def gather(client: Client, partitions: int, now: datetime) -> tuple[Summary, dict[str, str]]:
    """Returns the summary, and what is to be kept for the next one. Redis errors pass through."""
    log = StreamLog(client, PipelinedWriter(client), partitions=partitions, deadline_s=_DEADLINE_S)
    state = {name.decode(): value.decode() for name, value in (await client.hgetall(keys.SUMMARY)).items()}
    since, before = read_kept(state)
    counters = (await totals(log)).counters
    counted = difference(counters, before)
    parked, lag = await _waiting(log, now)
    summary = Summary(
        since,
        now,
        {name: value for name, value in counted.items() if ":" not in name},
        {name.removeprefix("failed:"): n for name, n in counted.items() if n and _is_cause(name)},
        parked,
        sum([int(await client.xlen(keys.stream(number, keys.DEAD))) for number in range(partitions)]),
        int(await client.hlen(keys.SUPPRESSIONS)),
        await _low(client),
        lag,
    )
    kept = {"until": now.astimezone(UTC).isoformat(), "totals": json.dumps(dict(counters), separators=(",", ":"))}
    return summary, kept


def _is_cause(name: str) -> bool:
    return name.startswith("failed:") and name not in ("failed:notification", "failed:welcome")


async def _waiting(log: StreamLog, now: datetime) -> tuple[int, dict[str, int]]:
    parked, lag = 0, dict[str, int]()
    for stream in await streams_view(log, now):
        for group in stream.groups:
            parked += group.parked if group.group == keys.MAILER else 0
            lag[group.group] = lag.get(group.group, 0) + group.lag + group.pending - group.parked
    return parked, {name: count for name, count in sorted(lag.items()) if count}


async def _low(client: Client) -> tuple[LowQuota, ...]:
    store = SubscriberStore(client)
    limited = [each for each in await store.all() if each.active and each.leads_purchased is not None]
    usage = await store.usage([each.id for each in limited]) if limited else {}
    found = [(each, remaining(each, usage[each.id]) or 0) for each in limited]
    low = [_low_quota(each, left) for each, left in found if is_low(left, each.leads_purchased or 0)]
    return tuple(sorted(low, key=lambda each: (each.remaining, each.name)))


def _low_quota(subscriber: Subscriber, left: int) -> LowQuota:
    return LowQuota(subscriber.id, subscriber.name, left, subscriber.leads_purchased or 0)
