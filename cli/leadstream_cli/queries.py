"""What reading commands ask of Redis about streams and groups. Bounded work, whatever the streams hold.

The server's own `lag` is null or wrong after XDEL, XTRIM and XGROUP SETID (redis/redis issues 13957, 14656; cases 102
and 103), so the backlog is counted here: exactly up to `COUNT_UP_TO` entries, and as "at least" above. What the
server says is kept beside it under its own name. Imports no schema: reading commands must start fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from leadstream_events import keys
from leadstream_events.entry_ids import entry_order as order
from leadstream_events.server_time import server_ms

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client

COUNT_UP_TO = 10_000
_PAGE = 1_000

# Counts one page on the server: the entries themselves need not travel. Returns {count, last id}.
_COUNT_PAGE = """
local page = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#page, #page > 0 and page[#page][1] or ''}
"""


def ms_of(entry_id: str) -> int:
    """The server time in ms at which an entry was stored."""
    return order(entry_id)[0]


@dataclass(frozen=True, slots=True)
class Group:
    """One group on one stream. Ages are seconds.

    `lag` entries were never delivered to it, or at least that many when `lag_exact` is False; `lag_age_s` is the age of
    the oldest of them. `server_lag` is what the server reports: null when it does not know, and at times wrong.
    """

    stream: str
    partition: int | None
    group: str
    consumers: int
    pending: int
    parked: int
    lag: int
    lag_exact: bool
    lag_age_s: float | None
    oldest_pending_s: float | None
    last_delivered_id: str
    server_lag: int | None


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream; ids are None while it is empty, `bytes` None where the server does not tell."""

    stream: str
    partition: int | None
    key: str
    length: int
    first_id: str | None
    last_id: str | None
    bytes: int | None
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """A consumer of a group; `idle_s` since it last asked for anything."""

    stream: str
    partition: int | None
    group: str
    consumer: str
    pending: int
    idle_s: float
    state: str


def places(partitions: int) -> list[tuple[str, int | None]]:
    """Every stream key with its partition; the last two have none."""
    names = (*keys.STREAMS, keys.OPERATIONS)
    own: list[tuple[str, int | None]] = [(keys.stream(n, name), n) for n in range(partitions) for name in names]
    return [*own, (keys.META_OPERATIONS, None), (keys.SUBSCRIBER_EVENTS, None)]


def short_name(key: str) -> str:
    """How people name a stream: `leads`, `emails`, `outcomes`, `dead`, `subscribers`."""
    return "subscribers" if key == keys.SUBSCRIBER_EVENTS else keys.name_of(key)


async def read_streams(client: Client, partitions: int, *, with_groups: bool = True) -> list[Stream]:
    """Every stream that exists, with its groups."""
    now_ms = await server_ms(client)
    found = [await _stream(client, key, number, now_ms, with_groups) for key, number in places(partitions)]
    return [stream for stream in found if stream is not None]


async def _stream(client: Client, key: str, partition: int | None, now_ms: int, groups: bool) -> Stream | None:
    if not await client.exists(key):
        return None
    info = await client.xinfo_stream(key)
    first, last = (info[f"{end}-entry"] for end in ("first", "last"))
    first_id, last_id = (item[0].decode() if item else None for item in (first, last))
    raw = await client.xinfo_groups(key) if groups else ()
    stream = Stream(short_name(key), partition, key, int(info["length"]), first_id, last_id, await _memory(client, key))
    return replace(stream, groups=tuple([await _group(client, stream, group, now_ms) for group in raw]))


async def _memory(client: Client, key: str) -> int | None:
    """MEMORY USAGE with its default of 5 samples: an estimate at constant cost."""
    from redis.exceptions import ResponseError

    try:
        found = await client.memory_usage(key)
    except ResponseError:  # renamed or forbidden on managed servers
        return None
    return None if found is None else int(found)


async def _group(client: Client, stream: Stream, raw: Mapping[str, Any], now_ms: int) -> Group:
    name, delivered = raw["name"].decode(), raw["last-delivered-id"].decode()
    lag, exact = await count_behind(client, stream, delivered)
    waiting = await client.xrange(stream.key, f"({delivered}", "+", count=1) if lag else ()
    pending, parked, oldest = await _pending_summary(client, stream.key, name, int(raw["pending"]))
    server_lag = raw.get("lag")
    return Group(
        stream.stream,
        stream.partition,
        name,
        int(raw["consumers"]),
        pending,
        parked,
        lag,
        exact,
        _age_s(waiting[0][0].decode(), now_ms) if waiting else None,
        _age_s(oldest, now_ms) if oldest else None,
        delivered,
        None if server_lag is None else int(server_lag),
    )


def _age_s(entry_id: str, now_ms: int) -> float:
    return max(0, now_ms - ms_of(entry_id)) / 1000


async def _pending_summary(client: Client, key: str, group: str, pending: int) -> tuple[int, int, str | None]:
    if not pending:
        return 0, 0, None
    summary = await client.xpending(key, group)
    owners: Sequence[Mapping[str, Any]] = summary["consumers"] or ()
    parked = sum(int(item["pending"]) for item in owners if item["name"] == keys.PARKED.encode())
    return int(summary["pending"]), parked, summary["min"].decode() if summary["min"] else None


async def count_behind(client: Client, stream: Stream, delivered: str) -> tuple[int, bool]:
    """Entries after `delivered`, and whether that is exact. Deleted and trimmed entries do not count."""
    if stream.last_id is None or stream.first_id is None or order(stream.last_id) <= order(delivered):
        return 0, True
    if order(stream.first_id) > order(delivered):
        return stream.length, True
    counted, position = 0, delivered
    while counted < COUNT_UP_TO:
        count, last = await client.eval(_COUNT_PAGE, 1, stream.key, f"({position}", "+", _PAGE)
        counted += int(count)
        if count < _PAGE:
            return counted, True
        position = last.decode()
    return counted, False


async def count_to(client: Client, key: str, before: str) -> int:
    """Entries with ids below `before`, exactly: a page of ids at a time is counted on the server."""
    counted, position = 0, "-"
    while True:
        count, last = await client.eval(_COUNT_PAGE, 1, key, position, f"({before}", _PAGE)
        counted += int(count)
        if count < _PAGE:
            return counted
        position = f"({last.decode()}"


async def read_consumers(client: Client, partitions: int, wanted: str, dead_after_s: float) -> list[ConsumerInfo]:
    """The consumers of a group in every stream it reads; `dead` is one that asked for nothing for that long."""
    out = []
    for stream in await read_streams(client, partitions):
        for group in stream.groups:
            if not in_group(group.group, wanted):
                continue
            for raw in await client.xinfo_consumers(stream.key, group.group):
                name, idle_s = raw["name"].decode(), int(raw["idle"]) / 1000
                state = "parked" if name == keys.PARKED else "dead" if idle_s > dead_after_s else "alive"
                pending = int(raw["pending"])
                out.append(ConsumerInfo(stream.stream, stream.partition, group.group, name, pending, idle_s, state))
    return out


def in_group(group: str, wanted: str | None) -> bool:
    """True when `wanted` means this group: its name, or `projections` for all of theirs."""
    return wanted is None or group == wanted or group.startswith(f"{wanted}.")
