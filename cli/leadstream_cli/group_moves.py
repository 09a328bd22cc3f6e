"""What `claim` and `seek` would do: positions, orphans, and what may not be moved. Imports no schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leadstream_cli.queries import Stream, count_behind
from leadstream_cli.tailing import parse_since
from leadstream_events import keys
from leadstream_events.entry_ids import entry_order as order
from leadstream_events.errors import Conflict

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client

BEGINNING = "0-0"
_PAGE = 1_000
_LAST = 2**64 - 1

WHY_SAFE = {
    keys.FANOUT: "a mail that was requested once is never requested again (ledger)",
    keys.MAILER: "a mail that was sent, failed or skipped is never sent again (ledger)",
    keys.QUOTA: "a purchased lead is settled once, however often it is told",
}


def refuse_projections(group: str) -> None:
    """A projection would count again what it has counted; raises `Conflict` with the mend."""
    if group.startswith(keys.PROJECTION_PREFIX) or group == keys.PROJECTION_PREFIX.rstrip("."):
        raise Conflict(
            f"{group} counts: reading entries again would count them twice. "
            "Use `projections rebuild`, which counts anew beside the live counters"
        )


def position(to: str, now_ms: int) -> str:
    """The position from which the entry `to` (an id), or the first one at a time, is delivered next. ValueError."""
    if to == "beginning":
        return BEGINNING
    first = parse_since(to, now_ms)
    ms, dash, sequence = first.partition("-")
    if not re.fullmatch(r"[0-9]{1,19}", ms) or int(ms) > _LAST or (dash and int(sequence) > _LAST):
        raise ValueError("must be a time, an entry id or `beginning`")
    if dash and int(sequence) > 0:
        return f"{ms}-{int(sequence) - 1}"
    return f"{int(ms) - 1}-{_LAST}" if int(ms) else BEGINNING


@dataclass(frozen=True, slots=True)
class Move:
    """One group on one stream: where it stands, where it would go, and what would be delivered then."""

    group: str
    stream: str
    partition: int
    before: str
    after: str
    again: int
    passed_over: int
    exact: bool
    alive: tuple[str, ...]


async def plan_moves(
    client: Client, streams: Sequence[Stream], group: str, after: str, dead_after_s: float
) -> list[Move]:
    """What a seek would do, stream by stream. Counts go up to a bound (`exact`)."""
    out = []
    for stream in streams:
        for found in stream.groups:
            if found.group != group or stream.partition is None:
                continue
            back, forth = sorted((found.last_delivered_id, after), key=order)
            near, near_exact = await count_behind(client, stream, back)
            far, far_exact = await count_behind(client, stream, forth)
            between = near - far
            forward = order(after) > order(found.last_delivered_id)
            alive = [
                item["name"].decode()
                for item in await client.xinfo_consumers(stream.key, group)
                if item["name"] != keys.PARKED.encode() and int(item["idle"]) <= dead_after_s * 1000
            ]
            out.append(
                Move(
                    group, stream.stream, stream.partition, found.last_delivered_id, after,
                    0 if forward else between, between if forward else 0, near_exact and far_exact, tuple(alive),
                )
            )  # fmt: skip
    return out


@dataclass(frozen=True, slots=True)
class Orphan:
    """A pending entry that nobody works on: idle past the lease, or parked and yet in no queue."""

    stream: str
    partition: int
    entry: str
    owner: str
    idle_s: float
    deliveries: int


async def find_orphans(client: Client, streams: Sequence[Stream], group: str, idle_s: float) -> list[Orphan]:
    """Every orphan of a group, oldest first per stream."""
    out: list[Orphan] = []
    for stream in streams:
        for found in stream.groups:
            if found.group == group and found.pending and stream.partition is not None:
                out += await _orphans(client, stream, group, idle_s)
    return out


async def _orphans(client: Client, stream: Stream, group: str, idle_s: float) -> list[Orphan]:
    assert stream.partition is not None  # noqa: S101  -- the caller has looked
    out: list[Orphan] = []
    start = "-"
    while True:
        page = await client.xpending_range(stream.key, group, start, "+", _PAGE)
        parked = [item for item in page if item["consumer"] == keys.PARKED.encode()]
        lost = await _in_no_queue(client, stream, group, parked)
        for item in page:
            idle = int(item["time_since_delivered"]) / 1000
            entry, owner = item["message_id"].decode(), item["consumer"].decode()
            if entry in lost if owner == keys.PARKED else idle >= idle_s:
                out.append(Orphan(stream.stream, stream.partition, entry, owner, idle, int(item["times_delivered"])))
        if len(page) < _PAGE:
            return out
        start = f"({page[-1]['message_id'].decode()}"


async def _in_no_queue(client: Client, stream: Stream, group: str, parked: Sequence[Any]) -> set[str]:
    if not parked or stream.partition is None:
        return set()
    ids = [item["message_id"].decode() for item in parked]
    scores = await client.zmscore(keys.due(stream.partition, group), [f"{stream.stream} {entry}" for entry in ids])
    return {entry for entry, score in zip(ids, scores, strict=True) if score is None}
