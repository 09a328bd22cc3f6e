"""How work flows from leads to counters: cheap enough to be asked every second, however much is stored or waits.

Lag is the server's own number where it can be trusted, else it is counted, up to a bound: it is wrong after deletes
and null after seeks (redis/redis issues 13957, 14656). The age of what waits is computed from entry ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.exceptions import ResponseError

from leadstream_events import keys
from leadstream_events.entry_ids import entry_order
from leadstream_events.limits import Rate
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client

COUNT_UP_TO = 1_000
GLOBAL_WINDOW = "*"


@dataclass(frozen=True, slots=True)
class StreamFlow:
    """A stream of all partitions together. `added` counts every entry ever; `last_ms` is when the newest was stored."""

    name: str
    length: int = 0
    added: int = 0
    last_ms: int | None = None


@dataclass(frozen=True, slots=True)
class GroupFlow:
    """A group on one stream, all partitions together. `lag_exact` False: at least `lag`.

    `lag` entries were never handed out, the oldest is `lag_age_s` seconds old; of `pending` ones, handed out and not
    finished, `parked` wait for their next attempt, and the oldest is `pending_age_s` old.
    """

    group: str
    stream: str
    consumers: int = 0
    lag: int = 0
    lag_exact: bool = True
    lag_age_s: float | None = None
    pending: int = 0
    parked: int = 0
    pending_age_s: float | None = None

    @property
    def waiting(self) -> int:
        """Entries that the group has not finished."""
        return self.lag + self.pending

    @property
    def oldest_s(self) -> float | None:
        """Age of the oldest of them."""
        return max((age for age in (self.lag_age_s, self.pending_age_s) if age is not None), default=None)


@dataclass(frozen=True, slots=True)
class Flow:
    """All streams and groups; `in_window` sends were started in the limit's window, None without a limit."""

    streams: Mapping[str, StreamFlow]
    groups: tuple[GroupFlow, ...]
    in_window: int | None

    def of(self, prefix: str) -> tuple[GroupFlow, ...]:
        """The groups whose name starts so."""
        return tuple(group for group in self.groups if group.group.startswith(prefix))


async def flow(log: StreamLog, rate: Rate | None, now: datetime) -> Flow:
    """Returns how it stands at `now`; Redis errors as they are."""
    client, now_ms = log.client, int(now.timestamp() * 1000)
    streams: dict[str, StreamFlow] = {name: StreamFlow(name) for name in keys.STREAMS}
    groups: dict[tuple[str, str], GroupFlow] = {}
    for number in range(log.partitions):
        for name, info, found in await _infos(client, number):
            streams[name] = _with_stream(streams[name], info)
            for each in await _groups(client, keys.stream(number, name), name, info, found, now_ms):
                key = (each.group, name)
                groups[key] = _together(groups[key], each) if key in groups else each
    return Flow(streams, tuple(groups.values()), await _in_window(client, rate, now_ms))


async def _infos(client: Client, number: int) -> list[tuple[str, Mapping[str, Any], list[Mapping[str, Any]]]]:
    async with client.pipeline(transaction=False) as pipe:
        for name in keys.STREAMS:
            pipe.xinfo_stream(keys.stream(number, name))
            pipe.xinfo_groups(keys.stream(number, name))
        replies = await pipe.execute(raise_on_error=False)
    out = []
    for name, info, groups in zip(keys.STREAMS, replies[::2], replies[1::2], strict=True):
        if isinstance(info, ResponseError) and "no such key" in str(info).lower():
            continue  # nobody has written to this stream yet
        for reply in (info, groups):
            if isinstance(reply, Exception):
                raise reply
        out.append((name, info, groups))
    return out


def _with_stream(before: StreamFlow, info: Mapping[str, Any]) -> StreamFlow:
    last = entry_order(info["last-generated-id"].decode())[0] or None
    return StreamFlow(
        before.name,
        before.length + int(info["length"]),
        before.added + int(info["entries-added"]),
        max((ms for ms in (before.last_ms, last) if ms), default=None),
    )


async def _groups(
    client: Client, key: str, name: str, info: Mapping[str, Any], found: Iterable[Mapping[str, Any]], now_ms: int
) -> list[GroupFlow]:
    # The archive's group is behind by all that is young, on purpose.
    asked = [group for group in found if group["name"] != keys.ARCHIVER.encode()]
    async with client.pipeline(transaction=False) as pipe:
        for group in asked:
            pipe.xpending(key, group["name"])
            pipe.xrange(key, "(" + group["last-delivered-id"].decode(), "+", count=1)
        replies = await pipe.execute() if asked else []
    out = []
    for group, pending, next_one in zip(asked, replies[::2], replies[1::2], strict=True):
        lag, exact = await _lag(client, key, group, info) if next_one else (0, True)
        ages = [age_s(next_one[0][0], now_ms) if next_one else None, age_s(pending["min"], now_ms)]
        counts = int(pending["pending"]), parked_of(pending)
        out.append(
            GroupFlow(group["name"].decode(), name, int(group["consumers"]), lag, exact, ages[0], *counts, ages[1])
        )
    return out


def parked_of(pending: Mapping[str, Any]) -> int:
    """The entries of XPENDING's summary that wait for their next attempt."""
    return sum(int(each["pending"]) for each in pending["consumers"] or () if each["name"] == keys.PARKED.encode())


def age_s(entry_id: bytes | None, now_ms: int) -> float | None:
    """Seconds since an entry was stored; None for no entry."""
    return max(0.0, (now_ms - entry_order(entry_id.decode())[0]) / 1000) if entry_id else None


async def _lag(client: Client, key: str, group: Mapping[str, Any], info: Mapping[str, Any]) -> tuple[int, bool]:
    """Entries behind the group's position, given that there is at least one."""
    told = told_lag(group, info)
    if told is not None:
        return told, True
    delivered = group["last-delivered-id"].decode()
    counted = len(await client.xrange(key, f"({delivered}", "+", count=COUNT_UP_TO))
    return counted, counted < COUNT_UP_TO


def told_lag(group: Mapping[str, Any], info: Mapping[str, Any]) -> int | None:
    """Entries behind the group's position, given that there is at least one; None where the server's word is no good.

    From the replies of XINFO GROUPS and XINFO STREAM.
    """
    first = info["first-entry"]
    if first and entry_order(first[0].decode()) > entry_order(group["last-delivered-id"].decode()):
        return int(info["length"])
    told = group.get("lag")
    return int(told) if told is not None and info["max-deleted-entry-id"] == b"0-0" else None


def _together(one: GroupFlow, other: GroupFlow) -> GroupFlow:
    def older(*ages: float | None) -> float | None:
        return max((age for age in ages if age is not None), default=None)

    return GroupFlow(
        one.group,
        one.stream,
        one.consumers + other.consumers,
        one.lag + other.lag,
        one.lag_exact and other.lag_exact,
        older(one.lag_age_s, other.lag_age_s),
        one.pending + other.pending,
        one.parked + other.parked,
        older(one.pending_age_s, other.pending_age_s),
    )


async def _in_window(client: Client, rate: Rate | None, now_ms: int) -> int | None:
    """Sends started in the limit's own period; the window keeps them a little longer."""
    if rate is None:
        return None
    return int(await client.zcount(keys.LIMITS + GLOBAL_WINDOW, now_ms - rate.period_ms, "+inf"))
