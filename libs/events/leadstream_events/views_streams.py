"""How the streams and their consumer groups stand, with a lag that is counted and not believed.

The server's own `lag` is null or wrong after XDEL, XTRIM and XGROUP SETID (redis/redis issues 13957, 14656): here the
entries behind the group's position are counted, up to a bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import ResponseError

from leadstream_events import keys
from leadstream_events.entry_ids import entry_order
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client

COUNT_UP_TO = 10_000
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class GroupView:
    """A consumer group. `lag_exact` False: there are at least `lag` entries still to be delivered.

    `parked` of the `pending` ones wait for their next attempt; `oldest_pending_s` is the age of the oldest entry.
    """

    group: str
    consumers: int
    pending: int
    parked: int
    lag: int
    lag_exact: bool
    last_delivered_id: str
    oldest_pending_s: float | None


@dataclass(frozen=True, slots=True)
class StreamView:
    """A stream of one partition; ids and times are None while it is empty."""

    stream: str
    partition: int | None
    length: int
    first_id: str | None
    last_id: str | None
    first_time: datetime | None
    last_time: datetime | None
    groups: tuple[GroupView, ...]


def entry_time(entry_id: str) -> datetime:
    """When the server stored an entry."""
    return datetime.fromtimestamp(entry_order(entry_id)[0] / 1000, UTC)


async def streams_view(log: StreamLog, now: datetime) -> tuple[StreamView, ...]:
    """Returns every stream of every partition, then that of subscriber events; Redis errors as they are."""
    places: list[tuple[str, int | None]] = [
        (keys.stream(number, name), number) for number in range(log.partitions) for name in keys.STREAMS
    ]
    places.append((keys.SUBSCRIBER_EVENTS, None))
    return tuple([await _stream_view(log.client, key, number, now) for key, number in places])


async def _stream_view(client: Client, key: str, partition: int | None, now: datetime) -> StreamView:
    try:
        info: Mapping[str, Any] = await client.xinfo_stream(key)
        groups: list[Mapping[str, Any]] = await client.xinfo_groups(key)
    except ResponseError as error:
        if "no such key" not in str(error).lower():  # the one reply for a stream nobody has written to yet
            raise
        return StreamView(key, partition, 0, None, None, None, None, ())
    first, last = info["first-entry"], info["last-entry"]
    first_id, last_id = first[0].decode() if first else None, last[0].decode() if last else None
    return StreamView(
        key,
        partition,
        int(info["length"]),
        first_id,
        last_id,
        entry_time(first_id) if first_id else None,
        entry_time(last_id) if last_id else None,
        # The archive's group is behind by all that is young, on purpose; counting that every second helps nobody.
        tuple(
            [
                await _group_view(client, key, group, info, now)
                for group in groups
                if group["name"] != keys.ARCHIVER.encode()
            ]
        ),
    )


async def _group_view(
    client: Client, key: str, group: Mapping[str, Any], info: Mapping[str, Any], now: datetime
) -> GroupView:
    name, delivered = group["name"].decode(), group["last-delivered-id"].decode()
    lag, exact = await count_behind(client, key, delivered, info)
    parked, oldest = 0, None
    if group["pending"]:
        summary = await client.xpending(key, name)
        parked = sum(int(each["pending"]) for each in summary["consumers"] if each["name"] == keys.PARKED.encode())
        if summary["min"]:
            oldest = max(0.0, (now - entry_time(summary["min"].decode())).total_seconds())
    return GroupView(name, int(group["consumers"]), int(group["pending"]), parked, lag, exact, delivered, oldest)


async def count_behind(client: Client, key: str, delivered: str, info: Mapping[str, Any]) -> tuple[int, bool]:
    """Returns how many entries of the stream come after `delivered`, and whether that is exact.

    Where nothing was delivered yet the length is the answer; else the entries are counted, at most `COUNT_UP_TO`.
    """
    first, last = info["first-entry"], info["last-entry"]
    if not last or entry_order(last[0].decode()) <= entry_order(delivered):
        return 0, True
    if entry_order(first[0].decode()) > entry_order(delivered):
        return int(info["length"]), True
    counted, position = 0, delivered
    while counted < COUNT_UP_TO:
        found = await client.xrange(key, f"({position}", "+", count=_PAGE)
        counted += len(found)
        if len(found) < _PAGE:
            return counted, True
        position = found[-1][0].decode()
    return counted, False
