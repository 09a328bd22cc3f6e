"""A rebuild gives the counters that a scan of the log gives, whatever goes on meanwhile and whoever is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from leadstream_archive.archive import Archive
from leadstream_archive.history import History
from leadstream_archive.stores import DiskStore
from leadstream_archive.writing import ArchiveWriter
from leadstream_events import keys
from leadstream_events.errors import Conflict, Permanent
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client, connect
from leadstream_events.settings import Settings
from leadstream_events.views_stats import totals
from leadstream_events.writer import PipelinedWriter
from leadstream_projections import rebuild as module
from leadstream_projections.counters import PROJECTIONS, TOTALS, Increments, Place, Projection
from leadstream_projections.rebuild import rebuild
from leadstream_projections.rebuild_state import read_generations
from leadstream_projections.verify import verify
from tests.integration.projections.running import projecting
from tests.integration.projections.scan import GROUPS, all_finished, expected, stored
from tests.integration.projections.workload import append, leads
from tests.support.waiting import eventually


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    made = connect(redis_url, timeout_s=5.0)
    yield made
    await made.aclose()


def in_generation(counters: dict[str, dict[str, str]], generation: int) -> dict[str, dict[str, str]]:
    """What a scan expects, under the keys of another generation."""
    return {key.replace(":1", f":{generation}", 1): fields for key, fields in counters.items()}


async def assert_live(raw: Any, generation: int, partition: int = 0) -> None:
    """Every projection is in this generation, holds what a scan gives, and nothing is left of any other one."""

    async def done() -> bool:
        return await all_finished(raw, GROUPS, partition)

    await eventually(done, "every projection to finish")
    assert await stored(raw, partition) == in_generation(await expected(raw, partition), generation)
    pointers = await raw.hgetall(keys.projection_pointer(partition))
    assert {pointers[each.name.encode()] for each in PROJECTIONS} == {str(generation).encode()}
    assert not [name for name in pointers if b"retired" in name]
    assert not [key async for key in raw.scan_iter("*:rebuild:*")]


async def test_drift_is_gone_after_a_rebuild_and_the_old_generation_too(
    settings: Settings, raw: Any, client: Client
) -> None:
    await append(raw, leads(120))
    async with projecting(settings):
        await eventually(lambda: all_finished(raw, GROUPS), "every projection to finish")
        await raw.hincrby(keys.projection(0, "totals", 1), "sent", 7)
        await raw.hincrby(keys.projection(0, "leads", 1, "lead-000003"), "requested", -1)
        done = await rebuild(client, PROJECTIONS, 1)
        await append(raw, leads(60, seed=2, first=120))
        await assert_live(raw, 2)
    assert {(each.projection, each.generation) for each in done} == {(each.name, 2) for each in PROJECTIONS}


async def test_a_rebuild_without_any_service_is_gone_on_with_by_the_service(
    settings: Settings, raw: Any, client: Client
) -> None:
    await append(raw, leads(50))
    await rebuild(client, PROJECTIONS, 1)
    async with projecting(settings):
        await append(raw, leads(50, seed=2, first=50))
        await assert_live(raw, 2)


@asynccontextmanager
async def all_the_while(act: Callable[[int], Awaitable[None]]) -> AsyncIterator[None]:
    """Does the same again and again until the block ends."""
    over = asyncio.Event()

    async def go_on() -> None:
        number = 0
        while not over.is_set():
            await act(number)
            number += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(go_on())
        try:
            yield
        finally:
            over.set()


async def test_a_rebuild_under_load_loses_and_doubles_nothing_and_no_reader_sees_a_counter_go_back(
    settings: Settings, raw: Any, client: Client
) -> None:
    await append(raw, leads(200))
    seen: list[tuple[int, int]] = []
    log = StreamLog(client, PipelinedWriter(client), partitions=1, deadline_s=5.0)

    async def come_in(number: int) -> None:
        await append(raw, leads(3, seed=number, first=10_000 + number * 3))

    async def look(number: int) -> None:
        found = await totals(log)
        seen.append((found.requested, found.sent))

    async with projecting(settings), projecting(settings, name="worker-b"):
        await eventually(lambda: all_finished(raw, GROUPS), "every projection to finish")
        async with all_the_while(come_in), all_the_while(look):
            for _ in range(3):
                await rebuild(client, PROJECTIONS, 1)
        await assert_live(raw, 4)
    assert seen == sorted(seen, key=lambda item: item[0]) == sorted(seen, key=lambda item: item[1])
    assert len(set(seen)) > 10


async def test_a_rebuild_that_stops_anywhere_goes_on_and_counts_nothing_twice(
    settings: Settings, raw: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 20)
    await append(raw, leads(100))
    async with projecting(settings):
        for limit in (40, 300, 900, 1_500):
            counted = 0

            def stop(count: int, limit: int = limit) -> None:
                nonlocal counted
                counted += count
                if counted >= limit:
                    raise InterruptedError

            with pytest.raises(InterruptedError):
                await rebuild(client, PROJECTIONS, 1, told=stop)
        left: list[int] = []
        await rebuild(client, PROJECTIONS, 1, begun=left.append)
        await assert_live(raw, 2)
    lengths = {name: int(await raw.xlen(keys.stream(0, name))) for name in (keys.LEADS, keys.EMAILS, keys.OUTCOMES)}
    total = sum(lengths[name] for each in PROJECTIONS for name in each.streams)
    assert 0 < left[0] < total - 1_000


async def test_another_definition_begins_anew_and_its_version_is_noted(
    settings: Settings, raw: Any, client: Client
) -> None:
    await append(raw, leads(40))

    def doubled(event: Any, place: Place) -> Increments:
        return tuple(each._replace(by=2) for each in TOTALS.increments(event, place))

    newer = Projection("totals", 2, TOTALS.streams, doubled)
    async with projecting(settings, projections=(TOTALS,)):
        await eventually(lambda: all_finished(raw, {TOTALS.group: TOTALS.streams}), "the totals to finish")
        before = await raw.hgetall(keys.projection(0, "totals", 1))
        assert (await read_generations(client, newer, 0)).needs_rebuild(newer)

        def stop(count: int) -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            await rebuild(client, (TOTALS,), 1, told=stop)
        await rebuild(client, (newer,), 1)
    found = await read_generations(client, newer, 0)
    assert not found.needs_rebuild(newer)
    after = await raw.hgetall(keys.projection(0, "totals", found.live))
    assert {name: int(value) for name, value in after.items()} == {name: 2 * int(n) for name, n in before.items()}
    assert found.live == 3
    assert not [key async for key in raw.scan_iter("*:p:totals:[12]")]


async def test_an_entry_that_the_projection_cannot_count_is_named_and_live_counters_stay(
    raw: Any, client: Client
) -> None:
    await append(raw, leads(5))

    def broken(event: Any, place: Place) -> Increments:
        raise ZeroDivisionError

    with pytest.raises(Permanent, match=r"ZeroDivisionError at entry [0-9-]+ of leads"):
        await rebuild(client, (Projection("totals", 1, TOTALS.streams, broken),), 1)
    assert await raw.hget(keys.projection_pointer(0), "totals") is None


async def test_what_a_group_gave_up_is_left_to_its_redrive(settings: Settings, raw: Any, client: Client) -> None:
    await append(raw, leads(20))
    victim = (await raw.xrange(keys.stream(0, keys.LEADS), count=1))[0][0].decode()

    def choosy(event: Any, place: Place) -> Increments:
        if place == (keys.LEADS, victim):
            raise ZeroDivisionError
        return TOTALS.increments(event, place)

    async with projecting(settings, projections=(Projection("totals", 1, TOTALS.streams, choosy),)):
        await eventually(lambda: all_finished(raw, {TOTALS.group: TOTALS.streams}), "the totals to finish")
    assert await raw.xlen(keys.stream(0, keys.DEAD)) == 1
    await rebuild(client, (TOTALS,), 1)
    assert await raw.hget(keys.projection(0, "totals", 2), "leads") == b"19"


async def test_trimmed_streams_are_not_rebuilt_from_unless_that_is_wanted(raw: Any, client: Client) -> None:
    await append(raw, leads(30))
    await raw.xtrim(keys.stream(0, keys.LEADS), maxlen=10, approximate=False)
    with pytest.raises(Conflict, match="were trimmed"):
        await rebuild(client, (TOTALS,), 1)
    await rebuild(client, (TOTALS,), 1, incomplete=True)
    assert (
        await raw.hget(keys.projection(0, "totals", 2), "leads")
        == str(
            sum(fields[b"type"] == b"LeadReceived" for _, fields in await raw.xrange(keys.stream(0, keys.LEADS)))
        ).encode()
    )


async def test_a_trimmed_stream_with_an_archive_is_rebuilt_and_verified_as_a_whole(
    settings: Settings, raw: Any, client: Client, tmp_path: Path
) -> None:
    archive = Archive(DiskStore(tmp_path / "archive"), "a folder")
    history = History(client, archive)
    await append(raw, leads(90))
    wanted = in_generation(await expected(raw), 2)
    async with projecting(settings):
        await eventually(lambda: all_finished(raw, GROUPS), "every projection to finish")
    lengths = {name: int(await raw.xlen(keys.stream(0, name))) for name in (keys.LEADS, keys.EMAILS, keys.OUTCOMES)}
    for number, (name, length) in enumerate(lengths.items()):
        await archived(client, archive, name, length // 2)
        upto = length // 2 if number else length // 3  # one is archived further than it is trimmed
        await raw.xtrim(keys.stream(0, name), maxlen=length - upto, approximate=False)
    with pytest.raises(Conflict, match="in no archive"):
        await rebuild(client, PROJECTIONS, 1)
    counted: list[int] = []
    await rebuild(client, PROJECTIONS, 1, history=history, begun=counted.append)
    assert await stored(raw) == wanted
    assert counted == [sum(lengths[name] for each in PROJECTIONS for name in each.streams)]
    for each in PROJECTIONS:
        found = await verify(client, each, 0, datetime(2027, 1, 1, tzinfo=UTC), history)
        assert (found.drifts, found.counters > 0) == ([], True)
    await raw.xtrim(keys.stream(0, keys.EMAILS), maxlen=3, approximate=False)
    with pytest.raises(Conflict, match="in no archive"):
        await rebuild(client, PROJECTIONS, 1, history=history)


async def archived(client: Client, archive: Archive, stream: str, count: int) -> None:
    """Puts the oldest entries of a stream into the archive."""
    key = keys.stream(0, stream)
    last = (await client.xrange(key, count=count))[-1][0].decode()
    writer = ArchiveWriter(archive, f"test-{stream}")
    position = (await writer.begin()).of(key).position
    await writer.append(key, History(client, None).pages(0, stream, position, last))
    await writer.commit()
