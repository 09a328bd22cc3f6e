"""What waits for the groups of this process, as gauges: read from Redis when somebody scrapes, and kept by nobody else.

A few commands of constant cost per stream and group. The ages go by entry ids on the server's clock. The lag is the
server's own, and absent where Redis does not know it (nil after XGROUP SETID) or may be wrong (after XDEL: redis/redis
issues 13957, 14656); `leadstream groups` counts it. While Redis cannot be asked all of these gauges are absent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Gauge

from leadstream_events import keys
from leadstream_events.redis_client import redis_may_refuse
from leadstream_events.runtime.source import GroupSource, monotonic_s
from leadstream_events.server_time import server_ms
from leadstream_events.views_flow import age_s, parked_of, told_lag

_LABELS = ("group", "stream")
LAG = Gauge("leadstream_group_lag_entries", "Entries never handed to the group; absent while unknown", _LABELS)
LAG_AGE = Gauge("leadstream_group_lag_age_seconds", "Age of the oldest of them; 0 without any", _LABELS)
PENDING = Gauge("leadstream_group_pending_entries", "Entries handed out and not finished, parked ones too", _LABELS)
PARKED = Gauge("leadstream_group_parked_entries", "Those of them that wait for their next attempt", _LABELS)
PENDING_AGE = Gauge(
    "leadstream_group_pending_age_seconds", "Age of the oldest unfinished entry; 0 without any", _LABELS
)
_ALL = (LAG, LAG_AGE, PENDING, PARKED, PENDING_AGE)

WITHIN_S = 2.0
_NOT_MORE_OFTEN_S = 2.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A group on one stream. `lag` None: the server does not know it."""

    group: str
    stream: str
    lag: int | None
    lag_age_s: float
    pending: int
    parked: int
    pending_age_s: float


def together(found: Iterable[Standing]) -> Mapping[tuple[str, str], Standing]:
    """One standing per group and stream, from those of every partition: sums, and the greatest ages."""
    out: dict[tuple[str, str], Standing] = {}
    for each in found:
        other = out.get((each.group, each.stream))
        out[each.group, each.stream] = each if other is None else _sum(other, each)
    return out


def _sum(one: Standing, other: Standing) -> Standing:
    return Standing(
        one.group,
        one.stream,
        None if one.lag is None or other.lag is None else one.lag + other.lag,
        max(one.lag_age_s, other.lag_age_s),
        one.pending + other.pending,
        one.parked + other.parked,
        max(one.pending_age_s, other.pending_age_s),
    )


async def standings(source: GroupSource) -> list[Standing]:
    """How the group of one consumer stands on each of its streams; Redis errors as they are."""
    client, group = source.client, source.group
    now_ms = await server_ms(client)
    async with client.pipeline(transaction=False) as pipe:
        for stream in source.streams:
            pipe.xinfo_stream(stream)
            pipe.xinfo_groups(stream)
            pipe.xpending(stream, group)
        replies = await pipe.execute()
    # A group that is created or destroyed at this moment is not shown.
    infos = [each for groups in replies[1::3] for each in groups if each["name"] == group.encode()]
    if len(infos) < len(source.streams):
        return []
    async with client.pipeline(transaction=False) as pipe:
        for stream, info in zip(source.streams, infos, strict=True):
            pipe.xrange(stream, "(" + info["last-delivered-id"].decode(), "+", count=1)
        nexts = await pipe.execute()
    return [
        Standing(
            group,
            keys.name_of(stream),
            told_lag(info, about) if waiting else 0,
            (age_s(waiting[0][0], now_ms) if waiting else None) or 0.0,
            int(pending["pending"]),
            parked_of(pending),
            age_s(pending["min"], now_ms) or 0.0,
        )
        for stream, info, about, pending, waiting in zip(
            source.streams, infos, replies[::3], replies[2::3], nexts, strict=True
        )
    ]


class Backlog:
    """Brings the gauges up to date; scrapes that follow closely share one reading."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._read_s = float("-inf")

    async def refresh(self, sources: Sequence[GroupSource]) -> None:
        """Reads within two seconds, or leaves the gauges absent. Never raises for Redis."""
        async with self._lock:
            if not sources or monotonic_s() - self._read_s < _NOT_MORE_OFTEN_S:
                return
            found: Sequence[Sequence[Standing]] = ()
            with redis_may_refuse():
                async with asyncio.timeout(WITHIN_S):
                    found = await asyncio.gather(*(standings(source) for source in sources))
            _show(together(each for several in found for each in several).values())
            self._read_s = monotonic_s()


def _show(standing: Iterable[Standing]) -> None:
    for gauge in _ALL:
        gauge.clear()
    for each in standing:
        labels = (each.group, each.stream)
        if each.lag is not None:
            LAG.labels(*labels).set(each.lag)
        LAG_AGE.labels(*labels).set(each.lag_age_s)
        PENDING.labels(*labels).set(each.pending)
        PARKED.labels(*labels).set(each.parked)
        PENDING_AGE.labels(*labels).set(each.pending_age_s)
