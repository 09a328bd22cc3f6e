"""Compares a filled generation with the live one, before it takes its place: where they differ, one of them is wrong.

The two have rarely counted the same entries: the group goes on. Sums can be taken apart again, so what only one of
them has counted is subtracted or added; it is little, since the new one has just caught up. Values of which the
greatest stays cannot be: those that are touched are left out, as are leads on which something happens meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from leadstream_events import keys
from leadstream_events.entry_ids import entry_order as order
from leadstream_events.errors import Malformed
from leadstream_events.redis_client import Client
from leadstream_projections.counters import PER_LEAD, Place
from leadstream_projections.quick_decode import make_reader
from leadstream_projections.rebuild_builder import Builder, Placed
from leadstream_projections.rebuild_state import read_generations
from leadstream_projections.sums import PartSums, add_up
from leadstream_projections.verify import MINUTES_KNOWN, Drift, Snapshot, parts_of, snapshot_of

# So many drifts are named; there may be one per lead.
NAMED = 1_000
_AT_ONCE = 500
_PAGE = 1_000
# So many entries more than the other one a generation may have counted, to be compared.
_FAR = 20_000
_APART = "the live counters are far behind"
_read = make_reader()

_Sums = dict[str, PartSums]
_Entry = tuple[bytes, dict[bytes, bytes]]
Values = Mapping[str, int | str]


@dataclass(slots=True)
class Compared:
    """What a generation and the live one differ in; `drifts` names up to `NAMED` of `differing` counters.

    `why_not` is not empty when they could not be compared. `expected` of a drift is what the new generation holds.
    """

    projection: str
    partition: int
    drifts: list[Drift] = field(default_factory=list)
    counters: int = 0
    differing: int = 0
    why_not: str = ""

    def look(self, part: str, live: Values, new: Values, ignored: Iterable[str] = ()) -> None:
        """Compares the fields of one part."""
        skipped = frozenset(ignored)
        for name in sorted({*live, *new} - skipped):
            self.counters += 1
            counted, expected = str(live.get(name, "0")), str(new.get(name, "0"))
            if counted != expected:
                self.differing += 1
                if len(self.drifts) < NAMED:
                    self.drifts.append(Drift(self.projection, self.partition, part, name, counted, expected))


async def compare(client: Client, builder: Builder, now: datetime) -> Compared:
    """Compares what both have counted; what was gathered must have been stored. Redis errors pass through."""
    out = Compared(builder.projection.name, builder.partition)
    generations = await read_generations(client, builder.projection, builder.partition)
    if generations.version != builder.projection.version:
        out.why_not = "the live counters count by another definition"
    elif builder.projection.name == PER_LEAD.name:
        await _compare_leads(client, builder, generations.live, out)
    else:
        await _compare_sums(client, builder, generations.live, now, out)
    return out


async def _compare_sums(client: Client, builder: Builder, live: int, now: datetime, out: Compared) -> None:
    bases = [builder.base(live), builder.base(builder.generation)]
    while True:
        names = [name for base in bases for name in (base, *[key async for key in parts_of(client, base)])]
        seen = await snapshot_of(client, builder.projection, builder.partition, names)
        more = [name for base in bases async for name in parts_of(client, base) if name not in names]
        if not more:  # else a new hour began just now
            break
    apart = await _apart(client, builder, seen)
    if apart is None:
        out.why_not = _APART
        return
    counters = dict(zip(names, seen.hashes, strict=True))
    ends = [{name[len(base) :] for name in names if name.startswith(base)} for base in bases]
    oldest = f":minute:{now - MINUTES_KNOWN:%Y%m%d}"
    for end in sorted(ends[0] | ends[1]):
        if end.startswith(":minute:") and end < oldest:  # the live ones have been forgotten
            continue
        part = end.removeprefix(":")
        less, extra = (sums.get(part, PartSums()) for sums in apart)
        new = _adjusted(counters.get(bases[1] + end, {}), less, extra)
        out.look(part, counters.get(bases[0] + end, {}), new, {*less.greatest, *extra.greatest})


def _adjusted(values: Values, less: PartSums, more: PartSums) -> Values:
    """The values without some sums, and with others."""
    out: dict[str, int | str] = dict(values)
    for sign, sums in ((-1, less), (1, more)):
        for name, by in sums.counts.items():
            out[name] = int(out.get(name, 0)) + sign * by
    return out


async def _apart(client: Client, builder: Builder, seen: Snapshot) -> tuple[_Sums, _Sums] | None:
    """What entries come to that only the new generation has counted, and those that only the live one had, when its
    counters were read. None when they are too many."""
    only_new: list[Placed] = []
    only_live: list[Placed] = []
    for stream in builder.projection.streams:
        key = keys.stream(builder.partition, stream)
        until, counted = seen.until.get(stream, "0-0"), builder.stored(stream)
        pending = {entry_id for name, entry_id in seen.pending if name == stream}
        both = [entry_id for entry_id in pending if order(entry_id) <= order(min(until, counted, key=order))]
        only_new += _placed(stream, await _entries(client, key, both))
        first, last = sorted((until, counted), key=order)
        more = only_new if last == counted else only_live
        async for page in _pages(client, key, first, last):
            some = _placed(stream, page)
            more += some if more is only_new else [each for each in some if each[1].entry_id not in pending]
            if len(more) > _FAR:
                return None
    return _sums(builder, only_new), _sums(builder, only_live)


def _sums(builder: Builder, placed: list[Placed]) -> _Sums:
    return add_up(builder.projection, [item for item in placed if not builder.leaves_out(item[1])])


def _placed(stream: str, entries: Iterable[_Entry]) -> list[Placed]:
    out: list[Placed] = []
    for entry_id, fields in entries:
        try:
            out.append((_read(fields), Place(stream, entry_id.decode())))
        except Malformed:
            continue
    return out


async def _pages(client: Client, key: str, after: str, last: str) -> AsyncIterator[list[_Entry]]:
    """The entries after one and up to another; under load, those that are there when it begins."""
    while page := await client.xrange(key, f"({after}", last, count=_PAGE):
        yield page
        after = page[-1][0].decode()
        if len(page) < _PAGE:
            return


async def _entries(client: Client, key: str, ids: list[str]) -> list[_Entry]:
    out: list[_Entry] = []
    for at in range(0, len(ids), _AT_ONCE):
        async with client.pipeline(transaction=False) as pipe:
            for entry_id in ids[at : at + _AT_ONCE]:
                pipe.xrange(key, entry_id, entry_id)
            out += [entry for found in await pipe.execute() for entry in found]
    return out


async def _compare_leads(client: Client, builder: Builder, live: int, out: Compared) -> None:
    bases = [builder.base(live), builder.base(builder.generation)]
    before = await snapshot_of(client, builder.projection, builder.partition, ())
    suspects: dict[str, tuple[Values, Values]] = {}
    for number, base in enumerate(bases):
        waiting: list[str] = []
        async for name in parts_of(client, base):
            waiting.append(name[len(base) + 1 :])
            if len(waiting) >= _AT_ONCE:
                await _look_at_leads(client, bases, waiting, suspects, out, once=number == 0)
                waiting = []
        await _look_at_leads(client, bases, waiting, suspects, out, once=number == 0)
    busy = await _busy_leads(client, builder, before) if suspects else frozenset()
    if busy is None:
        out.why_not = _APART
        return
    for lead in sorted(suspects.keys() - busy):
        out.look(lead, *suspects[lead])


async def _look_at_leads(
    client: Client,
    bases: list[str],
    leads: list[str],
    suspects: dict[str, tuple[Values, Values]],
    out: Compared,
    *,
    once: bool,
) -> None:
    """Puts leads that differ among the suspects. `once`: leads that are in the new generation alone come later."""
    if not leads:
        return
    async with client.pipeline(transaction=False) as pipe:
        for lead in leads:
            for base in bases:
                pipe.hgetall(f"{base}:{lead}")
        found = await pipe.execute()
    for at, lead in enumerate(leads):
        live, new = ({k.decode(): v.decode() for k, v in each.items()} for each in found[2 * at : 2 * at + 2])
        out.counters += len(new) if once else 0
        if live != new and (once or not live) and len(suspects) < 10 * NAMED:
            suspects[lead] = live, new


async def _busy_leads(client: Client, builder: Builder, before: Snapshot) -> frozenset[str] | None:
    """Leads with an entry that one of the two may have counted, and the other not, while they were looked at.

    None when that may be nearly all of them: one is far behind.
    """
    busy: set[str] = set()
    seen = 0
    for stream in builder.projection.streams:
        key = keys.stream(builder.partition, stream)
        ids = [entry_id for name, entry_id in before.pending if name == stream]
        busy.update(_subject(fields) for _, fields in await _entries(client, key, ids))
        after = min(before.until.get(stream, "0-0"), builder.stored(stream), key=order)
        async for page in _pages(client, key, after, "+"):
            busy.update(_subject(fields) for _, fields in page)
            seen += len(page)
            if seen > _FAR:
                return None
    return frozenset(busy)


def _subject(fields: Mapping[bytes, bytes]) -> str:
    return fields.get(b"subject", b"").decode("utf-8", "replace")
