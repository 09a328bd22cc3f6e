"""Counts projections anew from the streams, beside their live counters, and then puts the new ones in their place.

Readers and live consumers go on meanwhile. A page's sums and the new position are one step (`rebuild_add.lua`), so a
rebuild that was killed goes on where it was. The swap is one step too (`rebuild_swap.lua`): it holds only when the new
generation has counted everything that the group was ever handed, so no counter goes back, and it finishes what was
pending, so no entry counts twice. See docs/decisions/0012-rebuild.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from leadstream_events import keys
from leadstream_events.envelope import decode
from leadstream_events.errors import Conflict, Malformed
from leadstream_events.log import RawFields
from leadstream_events.redis_client import Client
from leadstream_events.tasks import end
from leadstream_projections.counters import Place, Projection
from leadstream_projections.rebuild_builder import Builder, LastPage, Placed, order
from leadstream_projections.rebuild_cleanup import delete_retired
from leadstream_projections.rebuild_state import missing_entries, read_letters
from leadstream_projections.sums import PartSums

PAGE = 1_000
# A group that reads all the time is caught up with after a few tries; this many mean that something else is wrong.
_SWAP_TRIES = 1_000

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
    incomplete: bool = False,
    begun: Step = lambda total: None,
    told: Step = lambda count: None,
) -> list[Rebuilt]:
    """Rebuilds these projections in all partitions, reading each stream once for all of them.

    `begun` hears how many entries there are to count, `told` of each page. Raises `Conflict` when entries were trimmed
    (unless `incomplete`: then what is left is all that is counted) or another process rebuilds the same, and
    `Permanent` when a projection cannot count an entry; the live counters are as they were then. Redis errors pass
    through, and the next call goes on from there.
    """
    for partition in range(partitions):
        await _refuse_gaps(client, projections, partition, incomplete)
    builders = [await Builder.open(client, each, partition) for partition in range(partitions) for each in projections]
    begun(await _to_do(client, builders))
    for partition in range(partitions):
        await catch_up(client, [builder for builder in builders if builder.partition == partition], told)
    done = [await _finish(client, builder, incomplete, told) for builder in builders]
    for partition in range(partitions):
        for projection in projections:
            await delete_retired(client, projection.name, partition)
    return done


async def _refuse_gaps(client: Client, projections: Iterable[Projection], partition: int, incomplete: bool) -> None:
    """Counters that are rebuilt from a trimmed stream would forget what they had counted."""
    streams = {name for projection in projections for name in projection.streams}
    missing = 0 if incomplete else await missing_entries(client, partition, streams)
    if missing:
        raise Conflict(
            f"{missing} entries of partition {partition} were trimmed: counters rebuilt from what is left would "
            "forget them. --from-what-is-left does it all the same"
        )


async def _to_do(client: Client, builders: Sequence[Builder]) -> int:
    """How many entries are to be counted, each once per projection."""
    lengths = {
        (partition, name): int(await client.xlen(keys.stream(partition, name)))
        for partition in {builder.partition for builder in builders}
        for name in keys.STREAMS
    }
    return sum(
        max(0, sum(lengths[builder.partition, name] for name in builder.projection.streams) - builder.done)
        for builder in builders
    )


async def _finish(client: Client, builder: Builder, incomplete: bool, told: Step) -> Rebuilt:
    """Catches up and swaps, as often as it takes: the group may be handed something between the two."""
    projection, partition = builder.projection, builder.partition
    for _ in range(_SWAP_TRIES):
        letters = await read_letters(client, partition, projection.group)
        await catch_up(client, [builder], told)
        await _refuse_gaps(client, [projection], partition, incomplete)
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


async def catch_up(client: Client, builders: Sequence[Builder], told: Step) -> None:
    """Counts every entry of one partition's streams that these have not counted yet."""
    streams = dict.fromkeys(name for builder in builders for name in builder.projection.streams)
    for stream in streams:
        await _read_to_the_end(client, stream, [each for each in builders if stream in each.planned], told)


async def _read_to_the_end(client: Client, stream: str, builders: Sequence[Builder], told: Step) -> None:
    """Reads one page ahead and stores one page behind, so that counting, reading and storing overlap."""
    key = keys.stream(builders[0].partition, stream)
    if not await client.exists(key):
        return
    newest = (await client.xinfo_stream(key))["last-generated-id"].decode()
    after = min((builder.planned[stream] for builder in builders), key=order)
    ahead = asyncio.create_task(_page(client, key, after))
    behind: asyncio.Task[None] | None = None
    try:
        while page := await ahead:
            last = page[-1][0].decode()
            ahead = asyncio.create_task(_page(client, key, last))
            await asyncio.sleep(0)  # the request goes out before this page is counted
            work = _count(stream, page, builders, after, last)
            if behind:
                await behind
            behind = asyncio.create_task(_store(stream, work, last, len(page)))
            told(len(page) * len(work))
            after = last
            if len(page) < PAGE:  # not until nothing is left: under load that would be never
                break
        if behind:
            await behind
    finally:
        await end(ahead)
        await end(behind)
    # What was deleted at the end of the stream cannot be waited for: nothing up to there is left to be counted.
    short = [each for each in builders if order(each.planned[stream]) < order(newest)]
    await _store(stream, [(each, {}) for each in short], newest, 0)
    for each in short:
        each.planned[stream] = newest


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


async def _page(client: Client, key: str, after: str) -> Page:
    found: Page = await client.xrange(key, f"({after}", "+", count=PAGE)
    return found


def _count(stream: str, page: Page, builders: Sequence[Builder], after: str, last: str) -> Work:
    """What a page comes to, for each builder that has not counted it; unreadable entries count nothing."""
    placed: list[Placed] = []
    for entry_id, fields in page:
        try:
            placed.append((decode(fields), Place(stream, entry_id.decode())))
        except Malformed:
            continue
    sums = [(builder, builder.sums_of(stream, placed, after, last)) for builder in builders]
    return [(builder, each) for builder, each in sums if each is not None]


async def _store(stream: str, work: Work, last: str, entries: int) -> None:
    await asyncio.gather(*(builder.add(stream, sums, last, entries) for builder, sums in work))
