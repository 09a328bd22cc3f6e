"""What a group was handed and has not finished, with what keeps each entry waiting.

One round trip for entries, ledgers and due times of a page; the last error comes from the references that the
projection `leads` keeps, never from a scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from leadstream_cli.queries import Stream, in_group, ms_of
from leadstream_cli.raw_entry import RawEntry, raw_entry
from leadstream_events import keys

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client


@dataclass(frozen=True, slots=True)
class Pending:
    """One pending entry. `attempts` are SMTP attempts and `deliveries` hand-overs: they are not the same."""

    group: str
    stream: str
    partition: int | None
    entry: str
    type: str
    lead_id: str
    email_id: str | None
    owner: str
    age_s: float
    idle_s: float
    deliveries: int
    attempts: int | None
    next_attempt_ms: int | None
    last_error: str | None


async def read_pending(
    client: Client, streams: Sequence[Stream], wanted: str | None, limit: int, now_ms: int
) -> tuple[list[Pending], int]:
    """Returns up to `limit` pending entries, oldest first per group, and how many there are in all."""
    out: list[Pending] = []
    total = 0
    for stream in streams:
        for group in stream.groups:
            if not in_group(group.group, wanted) or not group.pending:
                continue
            total += group.pending
            room = limit - len(out)
            if room > 0:
                page = await client.xpending_range(stream.key, group.group, "-", "+", room)
                out += await _describe(client, stream, group.group, page, now_ms)
    return out, total


async def _describe(client: Client, stream: Stream, group: str, page: Sequence[Any], now_ms: int) -> list[Pending]:
    entries = await _entries(client, stream, page)
    scores = await _due(client, stream, group, page)
    out = []
    for item, entry, score in zip(page, entries, scores, strict=True):
        entry_id = item["message_id"].decode()
        mail = entry.data.get("email_id") if entry and isinstance(entry.data, dict) else None
        owner = item["consumer"].decode()
        made = Pending(
            group=group,
            stream=stream.stream,
            partition=stream.partition,
            entry=entry_id,
            type=entry.type if entry else "gone",
            lead_id=entry.fields.get("subject", "") if entry else "",
            email_id=mail,
            owner="(waiting)" if owner == keys.PARKED else owner,
            age_s=max(0, now_ms - ms_of(entry_id)) / 1000,
            idle_s=int(item["time_since_delivered"]) / 1000,
            deliveries=int(item["times_delivered"]),
            attempts=None,
            next_attempt_ms=None if score is None else int(score),
            last_error=None,
        )
        out.append(await _with_history(client, made) if mail and made.lead_id else made)
    return out


async def _entries(client: Client, stream: Stream, page: Sequence[Any]) -> list[RawEntry | None]:
    async with client.pipeline(transaction=False) as pipe:
        for item in page:
            pipe.xrange(stream.key, item["message_id"], item["message_id"])
        found = await pipe.execute()
    return [raw_entry(stream.key, stream.partition, *each[0]) if each else None for each in found]


async def _due(client: Client, stream: Stream, group: str, page: Sequence[Any]) -> list[float | None]:
    if stream.partition is None or not page:
        return [None] * len(page)
    members = [f"{keys.name_of(stream.key)} {item['message_id'].decode()}" for item in page]
    return list(await client.zmscore(keys.due(stream.partition, group), members))


async def _with_history(client: Client, item: Pending) -> Pending:
    """Adds attempts (ledger) and the last failure (by reference)."""
    assert item.partition is not None and item.email_id is not None  # noqa: S101  only mails come here
    row = await client.hget(keys.ledger(item.partition, item.lead_id), item.email_id)
    parts = row.decode().split(" ") if row else []
    attempts = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else None
    if not attempts:
        return replace(item, attempts=attempts)
    generation = await client.hget(keys.projection_pointer(item.partition), "leads") or 1
    refs = await client.hgetall(keys.projection(item.partition, "leads", int(generation), item.lead_id))
    return replace(item, attempts=attempts, last_error=await _last_error(client, item, list(refs.values())))


async def _last_error(client: Client, item: Pending, refs: Sequence[bytes]) -> str | None:
    assert item.partition is not None  # noqa: S101
    ids = sorted((ref.split(b" ")[1] for ref in refs if ref.startswith(b"outcomes ")), key=lambda x: ms_of(x.decode()))
    key = keys.stream(item.partition, keys.OUTCOMES)
    async with client.pipeline(transaction=False) as pipe:
        for entry_id in ids:
            pipe.xrange(key, entry_id, entry_id)
        found = await pipe.execute() if ids else []
    for each in reversed(found):
        entry = raw_entry(key, item.partition, *each[0]) if each else None
        if entry and isinstance(entry.data, dict) and entry.data.get("email_id") == item.email_id:
            return _why(entry)
    return None


def _why(entry: RawEntry) -> str | None:
    failure = entry.data.get("failure") or {}
    parts = [failure.get("phase"), failure.get("code"), failure.get("line") or failure.get("cause")]
    text = " ".join(str(part) for part in parts if part) or entry.data.get("detail") or entry.data.get("cause")
    return f"{entry.type}: {text}" if text else entry.type
