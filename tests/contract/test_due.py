"""due: parked entries come back to one consumer each when their time has come."""

from __future__ import annotations

import asyncio

from leadstream_events import keys, scripts
from leadstream_events.redis_client import Client
from tests.support.entries import EMAILS, LEADS, pending

GROUP = "group"
DUE = keys.due(0, GROUP)
_Found = list[tuple[int, str, list[bytes] | None]]


async def due(client: Client, consumer: str = "me", count: int = 10) -> tuple[int, _Found]:
    next_ms, found = await scripts.run(
        client, scripts.DUE, [DUE, LEADS, EMAILS], [GROUP, consumer, count, "leads", "emails"]
    )
    return next_ms, [(number, entry.decode(), fields) for number, entry, fields in found]


async def now_ms(client: Client) -> int:
    seconds, micros = await client.time()
    return int(seconds * 1000 + micros // 1000)


async def park(client: Client, stream: str, in_ms: int) -> str:
    """Stores an entry, delivers it, and parks it."""
    if not await client.exists(stream):
        await client.xgroup_create(stream, GROUP, "0", mkstream=True)
    entry: str = (await client.xadd(stream, {"at": in_ms})).decode()
    await client.xreadgroup(GROUP, "worker", {stream: ">"})
    await client.xclaim(stream, GROUP, keys.PARKED, 0, [entry], justid=True)
    await client.zadd(DUE, {f"{keys.name_of(stream)} {entry}": await now_ms(client) + in_ms})
    return entry


async def test_nothing_parked_means_no_next_time(client: Client) -> None:
    assert await due(client) == (-1, [])


async def test_entries_come_in_the_order_of_their_times_from_every_stream(client: Client) -> None:
    late, early, other = (
        await park(client, LEADS, -5_000),
        await park(client, LEADS, -50_000),
        await park(client, EMAILS, -20_000),
    )
    next_ms, found = await due(client)
    assert next_ms == -1
    assert [(number, entry) for number, entry, _ in found] == [(1, early), (2, other), (1, late)]
    assert found[0][2] == [b"at", b"-50000"]
    assert await pending(client, LEADS, GROUP) == {late: ("me", 1), early: ("me", 1)}
    assert not await client.exists(DUE)


async def test_what_is_not_due_stays_and_the_next_time_is_told(client: Client) -> None:
    entry = await park(client, LEADS, 600_000)
    next_ms, found = await due(client)
    assert found == []
    assert 500_000 < next_ms <= 600_000
    assert await pending(client, LEADS, GROUP) == {entry: (keys.PARKED, 1)}


async def test_more_than_asked_for_stays_due_now(client: Client) -> None:
    for _ in range(5):
        await park(client, LEADS, -1)
    next_ms, found = await due(client, count=2)
    assert (next_ms, len(found)) == (0, 2)
    assert await client.zcard(DUE) == 3


async def test_of_many_consumers_each_entry_comes_to_one(client: Client) -> None:
    ids = [await park(client, LEADS, -1) for _ in range(30)]
    answers = await asyncio.gather(*(due(client, f"worker-{n}", 3) for n in range(20)))
    assert sorted(entry for _, found in answers for _, entry, _ in found) == sorted(ids)


async def test_a_lost_entry_is_told_and_stays_until_its_loss_is_recorded(client: Client) -> None:
    entry = await park(client, LEADS, -1)
    await client.xdel(LEADS, entry)
    assert (await due(client))[1] == [(1, entry, None)]
    assert await pending(client, LEADS, GROUP) == {entry: (keys.PARKED, 1)}
    # the consumer died before it recorded the loss: told again, once its time has come again
    member = f"leads {entry}"
    assert 0 < await client.zscore(DUE, member) - await now_ms(client) <= 60_000
    await client.zadd(DUE, {member: 0})
    assert (await due(client, "next"))[1] == [(1, entry, None)]
    await client.xack(LEADS, GROUP, entry)
    await client.zadd(DUE, {member: 0})
    assert (await due(client))[1] == []
    assert not await client.exists(DUE)


async def test_an_entry_that_the_group_has_finished_is_dropped(client: Client) -> None:
    entry = await park(client, LEADS, -1)
    await client.xack(LEADS, GROUP, entry)
    assert await due(client) == (-1, [])
    assert not await client.exists(DUE)


async def test_an_entry_of_a_group_created_again_is_left_to_its_reading(client: Client) -> None:
    entry = await park(client, LEADS, -1)
    await client.xgroup_destroy(LEADS, GROUP)
    await client.xgroup_create(LEADS, GROUP, "0")
    assert await due(client) == (-1, [])
    assert await pending(client, LEADS, GROUP) == {}
    read = await client.xreadgroup(GROUP, "me", {LEADS: ">"})
    assert [place.decode() for place, _ in read[0][1]] == [entry]


async def test_coming_back_from_due_is_no_further_delivery(client: Client) -> None:
    entry = await park(client, LEADS, -1)
    await due(client)
    assert (await pending(client, LEADS, GROUP))[entry] == ("me", 1)
