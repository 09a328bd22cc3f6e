"""Counts projections anew from archive and streams, beside the live counters, and then puts them in their place.

Readers and live consumers go on meanwhile. The sums of some pages and the new position are one step
(`rebuild_add.lua`), so a rebuild that was killed goes on where it was. The swap is one step too (`rebuild_swap.lua`):
it holds only when the new generation has counted everything that the group was ever handed, so no counter goes back,
and it finishes what was pending, so no entry counts twice. See docs/decisions/0012-rebuild.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from leadstream_archive.history import History
from leadstream_events import keys
from leadstream_events.entry_ids import entry_order as order
from leadstream_events.errors import Conflict, Malformed
from leadstream_events.log import RawFields
from leadstream_events.redis_client import Client
from leadstream_events.tasks import end
from leadstream_projections.counters import Place, Projection
from leadstream_projections.quick_decode import make_reader
from leadstream_projections.reading_ahead import read_ahead
from leadstream_projections.rebuild_builder import Builder, LastPage, Placed
from leadstream_projections.rebuild_cleanup import delete_retired
from leadstream_projections.rebuild_compare import Compared, compare
from leadstream_projections.rebuild_state import (
    discard_filling,
    ever_added,
    missing_entries,
    read_generations,
    read_letters,
)
from leadstream_projections.sums import PartSums

PAGE = 1_000
# A group that reads all the time is caught up with after a few tries; this many mean that something else is wrong.
_SWAP_TRIES = 1_000

_read = make_reader()

Step = Callable[[int], None]
Page = Sequence[tuple[bytes, RawFields]]
Work = list[tuple[Builder, dict[str, PartSums]]]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One projection of one partition after its swap. `counted` entries went into the generation that is live now."""

    projection: str
    partition: int
    generation: int
    version: int
    counted: int


async def rebuild(
    client: Client,
    projections: Sequence[Projection],
    partitions: int,
    *,
    history: History | None = None,
    incomplete: bool = False,
    check_only: bool = False,
    compared: Callable[[Compared], None] = lambda found: None,
    begun: Step = lambda total: None,
    told: Step = lambda count: None,
) -> list[Rebuilt]:
    """Rebuilds these projections in all partitions, reading each stream once for all of them.

    `history` reads archive and stream as one; without it there is no archive.
    `begun` hears how many entries there are to count, `told` of each page, `compared` in what each new generation
    differs from the live one; with `check_only` that is all, and the new ones are given up. Raises `Conflict` when
    entries were trimmed and are in no archive (unless `incomplete`: then what is left is all that is counted) or
    another process rebuilds the same, and `Permanent` when a projection cannot count an entry; the live counters are
    as they were then. Redis errors pass through, and the next call goes on from there.
    """
    past = history or History(client, None)
    for partition in range(partitions):
        await _refuse_gaps(past, projections, partition, incomplete)
    builders = [
        await Builder.open(client, each, partition, archived=past.archive is not None)
        for partition in range(partitions)
        for each in projections
    ]
    begun(await _to_do(past, builders))
    for partition in range(partitions):
        await catch_up(past, [builder for builder in builders if builder.partition == partition], told)
    for builder in builders:
        compared(await compare(client, builder, datetime.now(UTC)))
    finish = _give_up if check_only else _finish
    done = [await finish(past, builder, incomplete, told) for builder in builders]
    for partition in range(partitions):
        for projection in projections:
            await delete_retired(client, projection.name, partition)
    return done


async def _refuse_gaps(history: History, projections: Iterable[Projection], partition: int, incomplete: bool) -> None:
    """Counters that are rebuilt from a history with holes would forget what they had counted."""
    missing = 0 if incomplete else await missing_entries(history, partition, streams_of(projections))
    if missing:
        raise Conflict(
            f"{missing} entries of partition {partition} were trimmed and are in no archive: counters rebuilt from "
            "what is left would forget them. --from-what-is-left does it all the same"
        )


def streams_of(projections: Iterable[Projection]) -> list[str]:
    """Every stream that one of them reads, once."""
    return list(dict.fromkeys(name for projection in projections for name in projection.streams))


async def _to_do(history: History, builders: Sequence[Builder]) -> int:
    """How many entries are to be counted, each once per projection."""
    lengths = {
        (partition, name): await ever_added(history, partition, name)
        for partition in {builder.partition for builder in builders}
        for name in keys.STREAMS
    }
    return sum(
        max(0, sum(lengths[builder.partition, name] for name in builder.projection.streams) - builder.done)
        for builder in builders
    )


async def _give_up(history: History, builder: Builder, incomplete: bool, told: Step) -> Rebuilt:
    projection, partition = builder.projection, builder.partition
    await discard_filling(history.client, projection, partition, builder.generation)
    generations = await read_generations(history.client, projection, partition)
    return Rebuilt(projection.name, partition, generations.live, generations.version, builder.done)


async def _finish(history: History, builder: Builder, incomplete: bool, told: Step) -> Rebuilt:
    """Catches up and swaps, as often as it takes: the group may be handed something between the two."""
    projection, partition, client = builder.projection, builder.partition, history.client
    for _ in range(_SWAP_TRIES):
        letters = await read_letters(client, partition, projection.group)
        await catch_up(history, [builder], told)
        await _refuse_gaps(history, [projection], partition, incomplete)
        pages = await _last_pages(client, builder)
        what = await builder.swap(letters, pages)
        if what == "ok":
            counted = builder.done + sum(page.entries for page in pages.values())
            return Rebuilt(projection.name, partition, builder.generation, projection.version, counted)
        if what == "gone":
            raise Conflict(f"{projection.group} was rebuilt by another process meanwhile")
        if what == "given up":
            builder = await builder.begin_again(letters)
    raise Conflict(f"{projection.group} reads faster than it can be caught up with: try again at a quieter time")


async def catch_up(history: History, builders: Sequence[Builder], told: Step) -> None:
    """Counts every entry of one partition's streams that these have not counted yet."""
    for stream in streams_of(builder.projection for builder in builders):
        await _read_to_the_end(history, stream, [each for each in builders if stream in each.planned], told)


async def _read_to_the_end(history: History, stream: str, builders: Sequence[Builder], told: Step) -> None:
    """Reads one page ahead and stores in the background, so that counting, reading and storing overlap.

    The end is where the stream ended when it began: under load nothing would be left never.
    """
    key = keys.stream(builders[0].partition, stream)
    if not await history.client.exists(key):
        return
    newest = (await history.client.xinfo_stream(key))["last-generated-id"].decode()
    after = min((builder.planned[stream] for builder in builders), key=order)
    behind: asyncio.Task[None] | None = None
    try:
        async with aclosing(read_ahead(history.pages(builders[0].partition, stream, after, newest, PAGE))) as pages:
            async for page in pages:
                last = page[-1][0].decode()
                work = _count(stream, page, builders, after, last)
                for builder, sums in work:
                    builder.gather(stream, sums, last, len(page))
                if any(builder.full for builder in builders):
                    if behind:
                        await behind
                    behind = asyncio.create_task(_store(builders))
                told(len(page) * len(work))
                after = last
        if behind:
            await behind
    finally:
        await end(behind)
    # What was deleted at the end of the stream cannot be waited for: nothing up to there is left to be counted.
    for each in builders:
        if order(each.planned[stream]) < order(newest):
            each.gather(stream, {}, newest, 0)
    await _store(builders)


async def _last_pages(client: Client, builder: Builder) -> dict[str, LastPage]:
    """The ends of its streams, counted but not stored: they go along with the swap. All are read in one round trip."""
    positions = dict(builder.planned)
    async with client.pipeline(transaction=False) as pipe:
        for stream, after in positions.items():
            pipe.xrange(keys.stream(builder.partition, stream), f"({after}", "+", count=PAGE)
        pages: list[Page] = await pipe.execute()
    out: dict[str, LastPage] = {}
    for (stream, after), page in zip(positions.items(), pages, strict=True):
        last = page[-1][0].decode() if page else ""
        for _, sums in _count(stream, page, [builder], after, last) if page else ():
            out[stream] = LastPage(last, len(page), sums)
        builder.planned[stream] = after  # only planned: it is read again if the swap does not hold
    return out


def _count(stream: str, page: Page, builders: Sequence[Builder], after: str, last: str) -> Work:
    """What a page comes to, for each builder that has not counted it; unreadable entries count nothing."""
    placed: list[Placed] = []
    for entry_id, fields in page:
        try:
            placed.append((_read(fields), Place(stream, entry_id.decode())))
        except Malformed:
            continue
    sums = [(builder, builder.sums_of(stream, placed, after, last)) for builder in builders]
    return [(builder, each) for builder, each in sums if each is not None]


async def _store(builders: Sequence[Builder]) -> None:
    await asyncio.gather(*(builder.store() for builder in builders))
