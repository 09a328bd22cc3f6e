"""What the projections service does by the clock: dead consumers go, changed projections are counted anew, once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from leadstream_events import keys
from leadstream_events.redis_client import Client
from leadstream_events.settings import Settings
from leadstream_projections import auto_rebuild, service
from leadstream_projections.app import ProjectionApp
from leadstream_projections.auto_rebuild import AutoRebuild
from leadstream_projections.consumer_cleanup import ConsumerCleanup, clean_up
from leadstream_projections.counters import PROJECTIONS, TOTALS, Increments, Place, Projection
from leadstream_projections.rebuild_state import read_generations
from leadstream_projections.service import note_versions
from leadstream_projections.verify import verify
from tests.integration.projections.running import projecting
from tests.integration.projections.scan import all_finished
from tests.integration.projections.test_rebuild import client
from tests.integration.projections.workload import append, leads
from tests.support.waiting import eventually

__all__ = ["client"]

NOW = datetime(2027, 1, 1, tzinfo=UTC)
NEWER = Projection("totals", 2, TOTALS.streams, TOTALS.increments)


async def consumers(raw: Any, stream: str, group: str) -> set[str]:
    return {item["name"].decode() for item in await raw.xinfo_consumers(keys.stream(0, stream), group)}


async def test_dead_consumers_go_and_those_that_own_entries_or_are_parked_or_strange_stay(
    raw: Any, client: Client
) -> None:
    await append(raw, leads(5))
    outcomes = keys.stream(0, keys.OUTCOMES)
    for group in (keys.QUOTA, "strangers"):
        await raw.xgroup_create(outcomes, group, "0")
        await raw.xreadgroup(group, "owning", {outcomes: ">"}, count=1)
        for name in ("empty", "other", keys.PARKED):
            await raw.xgroup_createconsumer(outcomes, group, name)

    async def silent() -> bool:
        return all(item["idle"] > 20 for item in await raw.xinfo_consumers(outcomes, keys.QUOTA))

    await eventually(silent, "the consumers to be silent")
    assert (await clean_up(client, 1, 3_600)).removed == 0
    found = await clean_up(client, 1, 0.02)
    assert (found.removed, found.owning) == (2, 1)
    assert await consumers(raw, keys.OUTCOMES, keys.QUOTA) == {"owning", keys.PARKED}
    assert len(await consumers(raw, keys.OUTCOMES, "strangers")) == 4
    assert (await raw.xpending(outcomes, keys.QUOTA))["pending"] == 1


async def test_of_many_processes_one_cleans_up(client: Client) -> None:
    crowd = [ConsumerCleanup(client, partitions=1, dead_after_s=60, name=f"p{n}") for n in range(6)]
    found = await asyncio.gather(*(each.run() for each in crowd))
    assert len([each for each in found if each is not None]) == 1


async def counted(settings: Settings, raw: Any) -> None:
    await note_versions(settings, (TOTALS,))
    await append(raw, leads(30))
    async with projecting(settings, projections=(TOTALS,)):
        await eventually(lambda: all_finished(raw, {TOTALS.group: TOTALS.streams}), "the totals to finish")


async def test_a_changed_definition_is_counted_anew_by_one_of_many_processes(
    settings: Settings, raw: Any, client: Client
) -> None:
    await counted(settings, raw)
    assert await AutoRebuild(client, settings, PROJECTIONS[:1], "same").run() == []
    crowd = [AutoRebuild(client, settings, (NEWER,), f"p{number}") for number in range(4)]
    done = [each for found in await asyncio.gather(*(each.run() for each in crowd)) for each in found]
    assert [(each.projection, each.version, each.generation) for each in done] == [("totals", 2, 2)]
    assert await AutoRebuild(client, settings, (NEWER,), "again").run() == []
    assert not await client.exists(keys.shared_turn("rebuild"))


async def test_what_cannot_be_counted_is_told_once_and_the_live_counters_stay(
    settings: Settings, raw: Any, client: Client
) -> None:
    await counted(settings, raw)

    def broken(event: Any, place: Place) -> Increments:
        raise ZeroDivisionError

    work = AutoRebuild(client, settings, (Projection("totals", 2, TOTALS.streams, broken),), "p")
    assert [await work.run(), await work.run()] == [[], []]
    assert (await read_generations(client, NEWER, 0)).live == 1


async def test_the_service_does_it_by_itself_only_where_that_is_wanted(
    settings: Settings, raw: Any, client: Client, monkeypatch: Any
) -> None:
    await counted(settings, raw)
    monkeypatch.setattr(service, "REBUILD_S", 0.05)

    async def is_new() -> bool:
        return (await read_generations(client, NEWER, 0)).version == 2

    timers: list[float] = []
    monkeypatch.setattr(service, "_every", lambda app, seconds, work: timers.append(seconds))
    await service.schedule(AsyncExitStack(), settings, ProjectionApp((NEWER,)), (NEWER,), "p")
    assert auto_rebuild.INTERVAL_S not in timers
    monkeypatch.undo()
    monkeypatch.setattr(service, "REBUILD_S", 0.05)
    async with AsyncExitStack() as stack:
        app = ProjectionApp((NEWER,))
        mine = settings.model_copy(update={"projections_auto_rebuild": True})
        await service.schedule(stack, mine, app, (NEWER,), "p")
        await stack.enter_async_context(app)
        await eventually(is_new, "the projection to be counted anew")


async def test_a_group_destroyed_while_it_worked_is_told_found_by_verify_and_healed(
    settings: Settings, raw: Any, client: Client
) -> None:
    """Its checkpoint is below what it had counted: entries behind it are counted again (and nothing can prevent it)."""
    await note_versions(settings, (TOTALS,))
    await append(raw, leads(30))
    stream = keys.stream(0, keys.OUTCOMES)
    await raw.xgroup_create(stream, TOTALS.group, "0")
    await raw.xreadgroup(TOTALS.group, "elsewhere", {stream: ">"}, count=1)  # in work for as long as this test runs
    async with projecting(settings, projections=(TOTALS,)):

        async def counted_but_one() -> bool:
            (info,) = await raw.xinfo_groups(stream)
            last = (await raw.xinfo_stream(stream))["last-generated-id"]
            return bool(info["last-delivered-id"] == last and info["pending"] == 1)

        await eventually(counted_but_one, "all but one to be counted")
        assert not (await read_generations(client, TOTALS, 0)).doubtful
        await raw.xgroup_destroy(stream, TOTALS.group)
        await eventually(lambda: all_finished(raw, {TOTALS.group: TOTALS.streams}), "the totals to finish")
        found = await read_generations(client, TOTALS, 0)
        assert found.doubtful and found.needs_rebuild(TOTALS)
        assert (await verify(client, TOTALS, 0, NOW)).drifts
        work = AutoRebuild(client, settings, (TOTALS,), "p")
        assert [each.generation for each in await work.run()] == [2]
        assert not (await read_generations(client, TOTALS, 0)).doubtful
        assert (await verify(client, TOTALS, 0, NOW)).drifts == []


async def test_a_group_that_begins_or_was_destroyed_at_rest_is_in_no_doubt(
    settings: Settings, raw: Any, client: Client
) -> None:
    await append(raw, leads(10))
    async with projecting(settings, projections=(TOTALS,)):
        await eventually(lambda: all_finished(raw, {TOTALS.group: TOTALS.streams}), "the totals to finish")
        for name in TOTALS.streams:
            await raw.xgroup_destroy(keys.stream(0, name), TOTALS.group)
        await append(raw, leads(10, seed=2, first=10))
        await eventually(lambda: all_finished(raw, {TOTALS.group: TOTALS.streams}), "the totals to finish")
        assert not (await read_generations(client, TOTALS, 0)).doubtful
        assert (await verify(client, TOTALS, 0, NOW)).drifts == []
