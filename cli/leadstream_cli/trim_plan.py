"""How far a stream may be trimmed: never into what a group has not finished, nor what a mail or letter still needs.

A lead's entry is needed until its mails have ended, and for as long as a dead letter could be redriven.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leadstream_cli.queries import Stream, count_to, order
from leadstream_events import keys

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client

_PAGE = 1_000
TRIMMED = (keys.LEADS, keys.EMAILS, keys.OUTCOMES)


def groups_of(stream: str) -> tuple[str, ...]:
    """Every group that works on a stream, also those that never started."""
    from leadstream_projections.counters import PROJECTIONS

    own = {keys.LEADS: (keys.FANOUT,), keys.EMAILS: (keys.MAILER,), keys.OUTCOMES: (keys.QUOTA,)}
    return (*own[stream], *(item.group for item in PROJECTIONS if stream in item.streams))


@dataclass(frozen=True, slots=True)
class Floor:
    """The lowest entry that must stay, and whose it is."""

    entry: str
    blocked_by: str


@dataclass(frozen=True, slots=True)
class Trim:
    """What would go: `count` entries below `before`. `blocked_by` is empty when that is all that was asked for."""

    stream: str
    partition: int
    entries: int
    count: int
    before: str
    asked: str
    blocked_by: str


async def plan_trim(client: Client, stream: Stream, asked: str) -> Trim:
    """What may go of a stream (of one partition) below the entry id `asked`."""
    assert stream.partition is not None  # noqa: S101  -- only partitions are trimmed
    floors = [floor async for floor in _floors(client, stream)]
    lowest = min(floors, key=lambda floor: order(floor.entry), default=None)
    blocked = lowest is not None and order(lowest.entry) < order(asked)
    before = lowest.entry if lowest and blocked else asked
    count = await count_to(client, stream.key, before) if order(before) > (0, 0) else 0
    return Trim(
        stream.stream, stream.partition, stream.length, count, before, asked,
        lowest.blocked_by if lowest and blocked else "",
    )  # fmt: skip


async def _floors(client: Client, stream: Stream) -> AsyncIterator[Floor]:
    assert stream.partition is not None  # noqa: S101
    there = {group.group: group for group in stream.groups}
    for name in groups_of(stream.stream):
        if name not in there:
            yield Floor("0-0", f"{name} has never started")
    for name, group in there.items():
        unread = await client.xrange(stream.key, f"({group.last_delivered_id}", "+", count=1)
        pending = await client.xpending(stream.key, name)
        if pending["min"]:
            yield Floor(pending["min"].decode(), f"{name}: {pending['pending']} pending")
        if unread:
            yield Floor(unread[0][0].decode(), f"{name}: lag")
    async for letter in _all(client, keys.stream(stream.partition, keys.DEAD), "-"):
        needed = _needed_by(letter, stream.stream)
        if needed:
            yield Floor(needed, "a dead letter")
    if stream.stream == keys.LEADS:
        async for needed in _open_mails(client, stream.partition):
            yield Floor(needed, "a mail that has not ended")


def _needed_by(letter: Mapping[str, Any], stream: str) -> str | None:
    """The entry of this stream that a redrive would need."""
    if stream == keys.LEADS:
        fields = letter.get("fields")
        lead_entry = _lead_entry(fields.get("data") if isinstance(fields, dict) else None)
        if lead_entry:
            return lead_entry
    if letter.get("group") != keys.MAILER and str(letter.get("stream", "")).rpartition(":")[2] == stream:
        return str(letter.get("entry_id") or "") or None
    return None


def _lead_entry(data: Any) -> str | None:
    try:
        value = json.loads(data) if isinstance(data, str | bytes) else data
        return str(value["lead_entry"])
    except (ValueError, TypeError, KeyError):
        return None


async def _all(client: Client, key: str, first: str) -> AsyncIterator[dict[str, Any]]:
    """The data of every entry from `first` on; what cannot be read is empty."""
    async for page in _pages(client, key, first):
        for fields in page:
            try:
                value = json.loads(fields.get(b"data", b"null"))
            except ValueError:
                value = None
            yield value if isinstance(value, dict) else {}


async def _pages(client: Client, key: str, first: str) -> AsyncIterator[Iterable[Mapping[bytes, bytes]]]:
    while True:
        page = await client.xrange(key, first, "+", count=_PAGE)
        yield [fields for _, fields in page]
        if len(page) < _PAGE:
            return
        first = f"({page[-1][0].decode()}"


async def _open_mails(client: Client, partition: int) -> AsyncIterator[str]:
    """The lead entries of mails that the mailer has not finished: pending, or not delivered yet."""
    key = keys.stream(partition, keys.EMAILS)
    groups = await client.xinfo_groups(key) if await client.exists(key) else []
    mailer = next((group for group in groups if group["name"] == keys.MAILER.encode()), None)
    last = mailer["last-delivered-id"].decode() if mailer else "0-0"
    async for data in _all(client, key, f"({last}"):
        if "lead_entry" in data:
            yield str(data["lead_entry"])
    start = "-"
    while mailer:
        page = await client.xpending_range(key, keys.MAILER, start, "+", _PAGE)
        async with client.pipeline(transaction=False) as pipe:
            for item in page:
                pipe.xrange(key, item["message_id"], item["message_id"])
            found = await pipe.execute() if page else []
        for each in found:
            lead_entry = _lead_entry(each[0][1].get(b"data")) if each else None
            if lead_entry:
                yield lead_entry
        if len(page) < _PAGE:
            return
        start = f"({page[-1]['message_id'].decode()}"
