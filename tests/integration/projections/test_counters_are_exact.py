"""Counters equal a full independent scan of the streams, whatever happens to the workers on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from leadstream_events import keys
from leadstream_events.effects import Settlement
from leadstream_events.runtime.hooks import Hooks
from leadstream_events.runtime.policy import ConsumerPolicy
from leadstream_events.settings import Settings
from leadstream_projections.app import Batch, ProjectionApp
from leadstream_projections.counters import PROJECTIONS, TOTALS, Countable, Increments, Place, Projection
from tests.integration.projections.running import projecting
from tests.integration.projections.scan import GROUPS, all_finished, assert_exact
from tests.integration.projections.workload import append, leads
from tests.support.waiting import eventually


async def test_counters_equal_a_full_scan_of_the_streams(settings: Settings, raw: Any) -> None:
    await append(raw, leads(150))
    async with projecting(settings):
        await append(raw, leads(150, seed=2, first=150))
        found = await assert_exact(raw)
    assert found["leadstream:{0}:p:totals:1"]["leads"] == "300"
    assert await raw.exists(keys.stream(0, keys.DEAD)) == 0


async def test_each_partition_counts_its_own_leads(settings: Settings, raw: Any) -> None:
    two = settings.model_copy(update={"partitions": 2})
    for partition in (0, 1):
        await append(raw, leads(20, seed=partition, first=partition * 20), partition=partition)
    async with projecting(two):
        for partition in (0, 1):
            await assert_exact(raw, partition)


async def test_minute_series_expire_and_nothing_else_does(settings: Settings, raw: Any) -> None:
    await append(raw, leads(300))
    async with projecting(settings):
        found = await assert_exact(raw)
    lifetimes = {key: await raw.ttl(key) for key in found}
    minutes = [seconds for key, seconds in lifetimes.items() if ":minute:" in key]
    assert len(minutes) == 2
    assert all(7 * 86_400 < seconds <= 8 * 86_400 for seconds in minutes)
    assert {seconds for key, seconds in lifetimes.items() if ":minute:" not in key} == {-1}


class Counting(Hooks):
    """Adds up what consumers of any group did."""

    seen: Counter[str]

    def read(self, how: str, count: int) -> None:
        self.seen[how] += count

    def lost(self, count: int) -> None:
        self.seen["lost"] += count


def counting() -> tuple[Counter[str], type[Hooks]]:
    seen: Counter[str] = Counter()
    return seen, type("CountingHere", (Counting,), {"seen": seen})


@dataclass(frozen=True)
class Stalled(ConsumerPolicy):
    """A worker that stands still for longer than the lease of the others: it renews nothing.

    Its own lease is for ever, so that it takes nothing over from one whose loop was late.
    """

    @property
    def renew_every_s(self) -> float:
        return 3600.0


class StallingApp(ProjectionApp):
    """Holds every batch until `gate` opens, then answers as usual."""

    def hold(self, gate: asyncio.Event) -> StallingApp:
        self.gate = gate
        return self

    async def project(self, projection: Projection, batch: Batch) -> list[Settlement]:
        await self.gate.wait()
        return await super().project(projection, batch)


# Thousands of late settlements go one by one: seconds of work alone, a minute on a core shared with many.
MANY_S = 300.0


async def test_thousands_of_redeliveries_from_a_stalled_worker_count_once(settings: Settings, raw: Any) -> None:
    await append(raw, leads(250))
    gate = asyncio.Event()
    slow, slow_hooks = counting()
    quick, quick_hooks = counting()
    stalled = Stalled(lease_s=3600.0, max_deliveries=1000, batch=2000)
    async with projecting(
        settings, policy=stalled, app=StallingApp(PROJECTIONS).hold(gate), hooks=slow_hooks, name="worker-slow"
    ):

        async def all_taken() -> bool:
            return slow["new"] == sum(await asyncio.gather(*(_length(raw, s) for g in GROUPS.values() for s in g)))

        await eventually(all_taken, "the slow worker to have read everything")
        async with projecting(
            settings, policy=ConsumerPolicy(lease_s=0.2, max_deliveries=1000), hooks=quick_hooks, name="worker-quick"
        ):
            await assert_exact(raw, within_s=MANY_S)
            gate.set()
            late = _is(lambda: slow["lost"] == slow["new"])
            await eventually(late, "the slow worker to find that it was late", MANY_S)
            await assert_exact(raw)
    assert quick["claimed"] == slow["new"] > 3000


async def test_a_destroyed_group_comes_back_at_its_checkpoint_and_counts_once(settings: Settings, raw: Any) -> None:
    streams = [keys.stream(0, name) for name in TOTALS.streams]

    async def whole() -> bool:
        return all([await raw.exists(stream) and await raw.xinfo_groups(stream) for stream in streams])

    async with projecting(settings, projections=(TOTALS,)):
        for number in range(12):
            await eventually(whole, "the group to be back on every stream")
            load = asyncio.create_task(append(raw, leads(40, seed=number, first=number * 40), chunk=20))
            destroyed = [await raw.xgroup_destroy(stream, TOTALS.group) for stream in streams]
            await load
            assert destroyed == [1, 1, 1]
        await assert_exact(raw, only=TOTALS.group)


async def test_an_event_whose_projection_raises_is_a_dead_letter_alone(settings: Settings, raw: Any) -> None:
    placed = leads(60)
    bad = next(event for stream, event in placed[len(placed) // 2 :] if stream == keys.OUTCOMES)
    plain = next(projection for projection in PROJECTIONS if projection.name == "totals")

    def refuses_one(event: Countable, place: Place) -> Increments:
        if event.id == bad.id:
            raise ZeroDivisionError("a bug that this one event brings out")
        return plain.increments(event, place)

    broken = Projection(plain.name, plain.version, plain.streams, refuses_one)
    await append(raw, placed)
    async with projecting(settings, projections=(broken,)):
        await eventually(lambda: all_finished(raw, {broken.group: GROUPS[broken.group]}), "the projection to finish")
    [(_, fields)] = await raw.xrange(keys.stream(0, keys.DEAD))
    assert fields[b"cause"].decode() == bad.id
    assert b'"cause":"handler_error"' in fields[b"data"]
    counted: Counter[str] = Counter()
    for stream, event in placed:
        if event.id != bad.id:
            counted.update({change.field: change.by for change in plain.increments(event, Place(stream, "0-1"))})
    stored = await raw.hgetall("leadstream:{0}:p:totals:1")
    assert {name.decode(): int(value) for name, value in stored.items()} == counted


async def test_an_entry_that_cannot_be_read_is_a_dead_letter_and_the_rest_counts(settings: Settings, raw: Any) -> None:
    await append(raw, leads(10))
    await raw.xadd(keys.stream(0, keys.OUTCOMES), {"type": "EmailSent", "nonsense": b"\xff"})
    async with projecting(settings):
        await eventually(lambda: all_finished(raw, GROUPS), "every projection to finish")
    assert await raw.xlen(keys.stream(0, keys.DEAD)) == len(PROJECTIONS)
    assert await raw.hget("leadstream:{0}:p:totals:1", "leads") == b"10"


async def test_counters_go_to_the_generation_that_the_pointer_names(settings: Settings, raw: Any) -> None:
    await raw.hset(keys.projection_pointer(0), TOTALS.name, 7)
    await append(raw, leads(5))
    async with projecting(settings, projections=(TOTALS,)):
        await eventually(lambda: all_finished(raw, {TOTALS.group: TOTALS.streams}), "the projection to finish")
    assert await raw.hget("leadstream:{0}:p:totals:7", "leads") == b"5"
    assert await raw.exists("leadstream:{0}:p:totals:1") == 0


async def _length(client: Any, stream: str) -> int:
    return int(await client.xlen(keys.stream(0, stream)))


def _is(condition: Any) -> Any:
    async def check() -> bool:
        return bool(condition())

    return check
