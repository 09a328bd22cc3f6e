"""Deletes what is older than it has to be kept, and never what anybody still needs.

An entry goes when every group of its stream has finished it (the scripts look themselves, in the step that deletes).
A lead goes, and its ledger and counters in the same step, when besides no mail of it is open, no dead letter could
begin one again, and no request of it is left in the stream of mails: with the ledger goes the memory of what was sent,
so a mailer that is set back must not find a request without one. What the ledger knew ends with it: the same
idempotency key makes another lead from then on.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.entry_ids import entry_order as order
from leadstream_events.ledger import Row, State, parse_row
from leadstream_events.redis_client import Client

# Leads depend on mails being gone, so they come last.
TRIMMED = (keys.OUTCOMES, keys.EMAILS, keys.LEADS)
TRIM_STEP = 10_000
LEADS_STEP = 500
_PAGE = 1_000
_SHORTEST_S, _LONGEST_S = 0.5, 60.0
_ENDED = (State.SENT, State.FAILED, State.SKIPPED)
# A request without an entry in its row is as old as the row at the least, give or take two clocks.
_CLOCKS_MS = 300_000


def interval_s(retain_s: float | None) -> float:
    """Seconds between two rounds: a tenth of what is kept, within bounds; None keeps everything."""
    return _LONGEST_S if retain_s is None else min(max(retain_s / 10, _SHORTEST_S), _LONGEST_S)


@dataclass(frozen=True, slots=True)
class Floor:
    """The lowest entry that must stay, and why: a `group`, or (then it is empty) something else."""

    entry: str
    blocked_by: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """Something older than the retention that had to stay: `entries` is its stream's length then."""

    stream: str
    partition: int
    blocked_by: str
    group: str
    entries: int


@dataclass(frozen=True, slots=True)
class Retained:
    """What a round did: deleted entries by stream, and what holds more back."""

    deleted: Mapping[str, int]
    kept: tuple[Kept, ...]


async def floors(client: Client, partition: int, stream: str, groups: Sequence[str]) -> AsyncIterator[Floor]:
    """Everything that must stay of a stream. `groups` must be there: one that never started has seen nothing.

    Dead letters are looked at before and after the open mails: a mail becomes one, or begins again, at any moment.
    """
    async for floor in _group_floors(client, partition, stream, groups):
        yield floor
    async for floor in _letters(client, partition, stream):
        yield floor
    if stream == keys.LEADS:
        async for needed in _open_mails(client, partition):
            yield Floor(needed, "a mail that has not ended")
        async for floor in _letters(client, partition, stream):
            yield floor


async def _group_floors(client: Client, partition: int, stream: str, groups: Sequence[str]) -> AsyncIterator[Floor]:
    key = keys.stream(partition, stream)
    there = {item["name"].decode(): item for item in await client.xinfo_groups(key)}
    for name in groups:
        if name not in there:
            yield Floor("0-0", f"{name} has never started", name)
    for name, info in there.items():
        unread = await client.xrange(key, f"({info['last-delivered-id'].decode()}", "+", count=1)
        pending = await client.xpending(key, name)
        if pending["min"]:
            yield Floor(pending["min"].decode(), f"{name}: {pending['pending']} pending", name)
        if unread:
            yield Floor(unread[0][0].decode(), f"{name}: lag", name)
    for name in groups:
        if await client.exists(keys.rebuild(partition, name.removeprefix(keys.PROJECTION_PREFIX))):
            yield Floor("0-0", f"{name} is being rebuilt, or its rebuild was interrupted", name)


async def _letters(client: Client, partition: int, stream: str) -> AsyncIterator[Floor]:
    async for letter in _all(client, keys.stream(partition, keys.DEAD), "-"):
        needed = _needed_by(letter, stream)
        if needed:
            yield Floor(needed, "a dead letter")


def _needed_by(letter: Mapping[str, Any], stream: str) -> str | None:
    """The entry of this stream that a redrive would need."""
    if stream == keys.LEADS:
        fields = letter.get("fields")
        lead_entry = _lead_entry(fields.get("data") if isinstance(fields, dict) else None)
        if lead_entry:
            return lead_entry
    if letter.get("group") != keys.MAILER and keys.name_of(str(letter.get("stream", ""))) == stream:
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
    while True:
        page = await client.xrange(key, first, "+", count=_PAGE)
        for _, fields in page:
            try:
                value = json.loads(fields.get(b"data", b"null"))
            except ValueError:
                value = None
            yield value if isinstance(value, dict) else {}
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


async def retain(
    client: Client,
    partitions: int,
    retain_s: float,
    groups: Mapping[str, Sequence[str]],
    *,
    keep_keys: bool = False,
) -> Retained:
    """Deletes what is older than `retain_s` on the server's clock, as far as it may go.

    `keep_keys`: an archive holds the leads sealed, so their keys stay. `groups` names, per
    stream, every group that works on it. Redis errors pass through; what was deleted stays deleted.
    """
    seconds, micros = await client.time()
    asked = f"{int((int(seconds) + int(micros) / 1e6 - retain_s) * 1000)}-0"
    deleted = dict.fromkeys(TRIMMED, 0)
    kept: list[Kept] = []
    for partition in range(partitions):
        for stream in TRIMMED:
            key = keys.stream(partition, stream)
            oldest = await client.xrange(key, count=1) if await client.exists(key) else ()
            if not oldest or order(oldest[0][0].decode()) >= order(asked):
                continue
            found = [floor async for floor in floors(client, partition, stream, groups[stream])]
            # The archive ends where something else holds back, and then that is the reason.
            lowest = min(found, key=lambda f: (order(f.entry), f.group == keys.ARCHIVER), default=Floor(asked, ""))
            before = min(asked, lowest.entry, key=order)
            if order(before) < order(asked):
                length = int(await client.xlen(key))
                kept.append(Kept(stream, partition, lowest.blocked_by, lowest.group, length))
            if order(before) > order(oldest[0][0].decode()):
                if stream == keys.LEADS:
                    deleted[stream] += await _forget_leads(client, partition, before, groups[stream], keep_keys)
                else:
                    deleted[stream] += await _trim(client, partition, stream, before, groups[stream])
    return Retained(deleted, tuple(kept))


async def _trim(client: Client, partition: int, stream: str, before: str, groups: Sequence[str]) -> int:
    """Trims in bounded steps, and stops where a group turns out to need it after all."""
    names = [keys.stream(partition, stream), keys.stream(partition, keys.OPERATIONS)]
    args: list[Argument] = [before, TRIM_STEP, len(groups), *groups]
    total = 0
    while True:
        deleted, what, _ = await scripts.run(client, scripts.TRIM, names, args)
        total += int(deleted)
        if what != b"ok" or not deleted:
            return total


async def _forget_leads(client: Client, partition: int, before: str, groups: Sequence[str], keep_keys: bool) -> int:
    """Deletes leads page by page, each with its ledger and its counters, and its key unless that is kept."""
    key = keys.stream(partition, keys.LEADS)
    mails = keys.stream(partition, keys.EMAILS)
    first_mail = await client.xrange(mails, count=1) if await client.exists(mails) else ()
    oldest_mail = first_mail[0][0].decode() if first_mail else None
    generation = int(await client.hget(keys.projection_pointer(partition), "leads") or 1)
    total = 0
    while True:
        page = await client.xrange(key, "-", f"({before}", count=LEADS_STEP)
        subjects = [fields.get(b"subject", b"").decode("utf-8", "replace") for _, fields in page]
        over = await _over(client, partition, subjects, oldest_mail)
        floor = (
            page[over][0].decode() if over < len(page) else before if len(page) < LEADS_STEP else _after(page[-1][0])
        )
        names = [key, keys.lead_keys(partition)]
        for subject in subjects[:over]:
            names += (keys.ledger(partition, subject), keys.projection(partition, "leads", generation, subject))
        args: list[Argument] = [floor, int(not keep_keys), *groups]
        deleted, _, _ = await scripts.run(client, scripts.FORGET, names, args) if over else (0, b"", b"")
        total += int(deleted)
        if over < LEADS_STEP or not deleted:
            return total


def _after(entry_id: bytes) -> str:
    milliseconds, _, sequence = entry_id.decode().partition("-")
    return f"{milliseconds}-{int(sequence) + 1}"


async def _over(client: Client, partition: int, subjects: Sequence[str], oldest_mail: str | None) -> int:
    """How many of these leads, from the first on, are over: each mail ended, and none of their requests is stored."""
    async with client.pipeline(transaction=False) as pipe:
        for subject in subjects:
            pipe.hgetall(keys.ledger(partition, subject))
        ledgers = await pipe.execute() if subjects else []
    for number, ledger in enumerate(ledgers):
        if not all(_is_over(row, oldest_mail) for row in _rows(ledger)):
            return number
    return len(subjects)


def _rows(ledger: Mapping[bytes, bytes]) -> list[Row]:
    rows = []
    for value in ledger.values():
        try:
            rows.append(parse_row(value.decode()))
        except ValueError:  # the append's field, or fan-out's
            continue
    return rows


def _is_over(row: Row, oldest_mail: str | None) -> bool:
    if row.state not in _ENDED:
        return False
    if oldest_mail is None:
        return True
    if row.entry == "-":
        return row.at_ms + _CLOCKS_MS < order(oldest_mail)[0]
    return order(row.entry) < order(oldest_mail)
