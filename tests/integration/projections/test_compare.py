"""Before a rebuild puts its counters in place it says where they differ from the live ones, and only where they do."""

from __future__ import annotations

import json
from typing import Any

from leadstream_events import keys
from leadstream_events.redis_client import Client
from leadstream_events.settings import Settings
from leadstream_projections.counters import PROJECTIONS, TOTALS, Projection
from leadstream_projections.rebuild import rebuild
from leadstream_projections.rebuild_compare import Compared
from tests.integration.projections.running import projecting
from tests.integration.projections.scan import GROUPS, all_finished, stored
from tests.integration.projections.test_rebuild import all_the_while, client
from tests.integration.projections.test_verify import cli, counted
from tests.integration.projections.workload import append, leads
from tests.support.waiting import eventually

__all__ = ["cli", "client"]

BY_HAND = [
    (keys.projection(0, "totals", 1), "sent", 3),
    (keys.projection(0, "subscribers", 1), "sub-1:sent", -1),
    (keys.projection(0, "leads", 1, "lead-000007"), "requested", 1),
    (keys.projection(0, "leads", 1, "lead-nobody"), "requested", 1),
    (keys.projection(0, "series", 1, "day:2026"), "12-31 sent", 1),
]
NAMED = {
    ("totals", "", "sent"),
    ("subscribers", "", "sub-1:sent"),
    ("leads", "lead-000007", "requested"),
    ("leads", "lead-nobody", "requested"),
    ("series", "day:2026", "12-31 sent"),
}


async def spoil(raw: Any) -> None:
    for key, field, by in BY_HAND:
        await raw.hincrby(key, field, by)


async def test_check_only_names_every_drift_and_changes_nothing(settings: Settings, raw: Any, cli: Any) -> None:
    await counted(raw, settings)
    code, out = await cli("projections", "rebuild", "--all", "--check-only", "--json")
    assert (code, json.loads(out)) == (0, [])
    await spoil(raw)
    before = await stored(raw)
    code, out = await cli("projections", "rebuild", "--all", "--check-only", "--json")
    assert code == 3
    assert {(each["projection"], each["part"], each["counter"]) for each in json.loads(out)} == NAMED
    after = await stored(raw)
    assert {name: after[name] for name in before if name != keys.projection_pointer(0)} == {
        name: before[name] for name in before if name != keys.projection_pointer(0)
    }
    assert not [name for name in after if name not in before]  # the new generation is gone
    assert not [key async for key in raw.scan_iter("*:rebuild:*")]
    assert (await cli("projections", "verify"))[0] == 3


async def test_a_rebuild_says_the_drift_that_it_heals(settings: Settings, raw: Any, client: Client, cli: Any) -> None:
    await counted(raw, settings)
    await spoil(raw)
    told: list[Compared] = []
    await rebuild(client, PROJECTIONS, 1, compared=told.append)
    assert {(each.projection, drift.part, drift.counter) for each in told for drift in each.drifts} == NAMED
    assert (await cli("projections", "verify"))[0] == 0


async def test_under_load_no_drift_is_said_where_there_is_none_and_real_drift_is(
    settings: Settings, raw: Any, client: Client
) -> None:
    await append(raw, leads(150))

    async def come_in(number: int) -> None:
        await append(raw, leads(3, seed=number, first=10_000 + number * 3))

    told: list[Compared] = []
    async with projecting(settings), projecting(settings, name="worker-b"):
        await eventually(lambda: all_finished(raw, GROUPS), "every projection to finish")
        async with all_the_while(come_in):
            await rebuild(client, PROJECTIONS, 1, compared=told.append)
            assert [drift for each in told for drift in each.drifts] == []
            assert {each.projection for each in told if each.counters} == {each.name for each in PROJECTIONS}
            await raw.hincrby(keys.projection(0, "totals", 2), "sent", 7)
            again: list[Compared] = []
            await rebuild(client, (TOTALS,), 1, compared=again.append, check_only=True)
        assert [drift.counter for each in again for drift in each.drifts] == ["sent"]


async def test_another_definition_is_not_compared(settings: Settings, raw: Any, client: Client) -> None:
    await counted(raw, settings, 10)
    newer = Projection("totals", 2, TOTALS.streams, TOTALS.increments)
    told: list[Compared] = []
    await rebuild(client, (newer,), 1, compared=told.append)
    assert [each.why_not for each in told] == ["the live counters count by another definition"]
