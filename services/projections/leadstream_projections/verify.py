"""Compares counters with a second count of the log (`verify_count.py`), while everything runs on.

One transaction tells what a group has finished and what its counters say: up to which entry it was handed each
stream, which of those are pending, and the counters themselves. What the count has to give is then known exactly,
however busy the group is. Per-lead counters are too many for one transaction: leads on which something happened
meanwhile are left out and counted as such.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from leadstream_archive.history import History
from leadstream_events import keys
from leadstream_events.entry_ids import entry_order as order
from leadstream_events.errors import Conflict
from leadstream_events.forgotten_leads import without_ledger
from leadstream_events.redis_client import Client
from leadstream_projections.counters import PER_LEAD, Projection
from leadstream_projections.forgotten import has_counters
from leadstream_projections.rebuild_state import ever_added, missing_entries, read_generations, read_letters
from leadstream_projections.verify_count import Counts, Raw, Tally, bucket_of, read_raw

PAGE = 1_000
# How many leads are counted at a time: what bounds the memory.
LEADS_AT_ONCE = 50_000
# Minutes are kept for 8 days after they were last counted in: of older ones nothing is known.
MINUTES_KNOWN = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Drift:
    """One counter that says something else than the log; `counted` or `expected` is None where there is none."""

    projection: str
    partition: int
    part: str
    counter: str
    counted: str | None
    expected: str | None


@dataclass(slots=True)
class Verified:
    """What was compared: the drifts, how many counters there were, and how many leads had something going on."""

    drifts: list[Drift] = field(default_factory=list)
    counters: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """What a group has finished: of each stream all up to `until`, except for `pending` and for what it gave up."""

    until: Mapping[str, str]
    pending: frozenset[tuple[str, str]]
    given_up: frozenset[str]

    def has(self, stream: str, entry_id: str) -> bool:
        """True when the group has counted this entry."""
        if order(entry_id) > order(self.until.get(stream, "0-0")) or (stream, entry_id) in self.pending:
            return False
        return f"{stream} {entry_id}" not in self.given_up


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One instant: up to where a group was handed each stream, what was pending for it, and what some hashes held."""

    until: Mapping[str, str]
    pending: frozenset[tuple[str, str]]
    hashes: Sequence[dict[str, int | str]]


async def verify(
    client: Client, projection: Projection, partition: int, now: datetime, history: History | None = None
) -> Verified:
    """Compares every counter of one projection in one partition.

    Raises `Conflict` when entries were trimmed and are in no archive (`history`).
    """
    past = history or History(client, None)
    missing = await missing_entries(past, partition, projection.streams)
    if missing:
        raise Conflict(
            f"{missing} entries of partition {partition} were trimmed and are in no archive: "
            "counters cannot be counted again"
        )
    generation = (await read_generations(client, projection, partition)).live
    out = Verified()
    if projection.name == PER_LEAD.name:
        buckets = 1 + await ever_added(past, partition, keys.LEADS) // LEADS_AT_ONCE
        for bucket in range(buckets):
            await _verify_leads(past, projection, partition, generation, Tally("leads", bucket, buckets), out)
        return out
    found, finished = await _snapshot(client, projection, partition, generation)
    tally = Tally(projection.name)
    async for entry in entries(past, partition, projection.streams, finished.until):
        if finished.has(entry.stream, entry.entry_id):
            tally.take(entry)
    oldest = f"minute:{now - MINUTES_KNOWN:%Y%m%d}"
    known = {part for part in {*found, *tally.counts} if not part.startswith("minute:") or part >= oldest}
    _compare(projection, partition, known, found, tally.counts, out)
    return out


async def _snapshot(client: Client, projection: Projection, partition: int, generation: int) -> tuple[Counts, Finished]:
    """Counters and what they stand for, at one instant."""
    base = keys.projection(partition, projection.name, generation)
    while True:
        letters = await read_letters(client, partition, projection.group)
        names = [base, *[key async for key in parts_of(client, base)]]
        seen = await snapshot_of(client, projection, partition, names)
        after = {key async for key in parts_of(client, base)}
        same = await read_letters(client, partition, projection.group) == letters
        if same and after <= set(names):  # else a new hour began just now, or a letter came or went
            break
    counts = {name[len(base) + 1 :]: values for name, values in zip(names, seen.hashes, strict=True) if values}
    return counts, Finished(seen.until, seen.pending, letters.given_up)


async def parts_of(client: Client, base: str) -> AsyncIterator[str]:
    """The keys below this one (SCAN); one may be told twice."""
    async for key in client.scan_iter(match=f"{base}:*", count=PAGE):
        yield key.decode()


async def snapshot_of(client: Client, projection: Projection, partition: int, names: Sequence[str]) -> Snapshot:
    """One transaction (MULTI): where the group stands, what is pending for it, and these hashes."""
    streams = [name for name in projection.streams if await client.exists(keys.stream(partition, name))]
    async with client.pipeline(transaction=True) as pipe:
        for name in streams:
            key = keys.stream(partition, name)
            pipe.xinfo_groups(key)
            pipe.xpending_range(key, projection.group, "-", "+", 100_000)
        for name in names:
            pipe.hgetall(name)
        replies = await pipe.execute(raise_on_error=False)
    until: dict[str, str] = {}
    pending: set[tuple[str, str]] = set()
    for at, name in enumerate(streams):
        groups, waiting = replies[2 * at], replies[2 * at + 1]
        for group in groups:
            if group["name"] == projection.group.encode():
                until[name] = group["last-delivered-id"].decode()
                pending |= {(name, item["message_id"].decode()) for item in waiting}
    hashes: list[dict[str, int | str]] = [
        {name.decode(): value.decode() for name, value in found.items()} for found in replies[2 * len(streams) :]
    ]
    return Snapshot(until, frozenset(pending), hashes)


async def entries(
    history: History,
    partition: int,
    streams: Iterable[str],
    until: Mapping[str, str] | None = None,
    after: str = "0-0",
) -> AsyncIterator[Raw]:
    """Every readable entry of these streams after `after` and up to `until`, stream by stream."""
    for name in streams:
        last = None if until is None else until.get(name, "0-0")
        async for page in history.pages(partition, name, after, last, PAGE):
            for entry_id, fields in page:
                entry = read_raw(name, entry_id, fields)
                if entry is not None:
                    yield entry


async def _verify_leads(
    history: History, projection: Projection, partition: int, generation: int, tally: Tally, out: Verified
) -> None:
    client = history.client
    letters = await read_letters(client, partition, projection.group)
    seen = await snapshot_of(client, projection, partition, ())
    until = seen.until
    finished = Finished(until, seen.pending, letters.given_up)
    busy: set[str] = set()
    async for entry in entries(history, partition, projection.streams):
        if finished.has(entry.stream, entry.entry_id):
            tally.take(entry)
        elif f"{entry.stream} {entry.entry_id}" not in finished.given_up:
            busy.add(entry.subject)
    base = keys.projection(partition, projection.name, generation)
    found = await _hashes_of_leads(client, base, tally)
    for stream in projection.streams:  # what came since the group was asked
        async for entry in entries(history, partition, (stream,), after=until.get(stream, "0-0")):
            busy.add(entry.subject)
    mine = {subject for subject in busy if bucket_of(subject, tally.buckets) == tally.bucket}
    out.in_flight += len(mine)
    bare = [lead for lead in tally.counts if not has_counters(found.get(lead, {}))]
    gone = await without_ledger(client, partition, bare) if history.archive else set()
    _compare(projection, partition, {*found, *tally.counts} - mine - gone, found, tally.counts, out)


async def _hashes_of_leads(client: Client, base: str, tally: Tally) -> Counts:
    names = [name[len(base) + 1 :] async for name in parts_of(client, base)]
    names = [name for name in names if bucket_of(name, tally.buckets) == tally.bucket]
    found: Counts = {}
    for at in range(0, len(names), PAGE):
        some = names[at : at + PAGE]
        async with client.pipeline(transaction=False) as pipe:
            for name in some:
                pipe.hgetall(f"{base}:{name}")
            for name, values in zip(some, await pipe.execute(), strict=True):
                found[name] = {field.decode(): value.decode() for field, value in values.items()}
    return found


def _compare(
    projection: Projection, partition: int, parts: Iterable[str], found: Counts, expected: Counts, out: Verified
) -> None:
    for part in sorted(parts):
        has, wants = found.get(part, {}), expected.get(part, {})
        for name in sorted({*has, *wants}):
            counted = str(has[name]) if name in has else None
            due = str(wants[name]) if name in wants else None
            out.counters += 1
            if counted != due:
                out.drifts.append(Drift(projection.name, partition, part, name, counted, due))
