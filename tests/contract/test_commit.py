"""commit: an entry is finished only together with what follows from it, and only once."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from leadstream_events import keys
from leadstream_events.effects import (
    Effect,
    Settlement,
    Verb,
    append,
    count,
    due,
    expire,
    once,
    set_field,
    set_greatest,
    together,
)
from leadstream_events.errors import RedisCause
from leadstream_events.ledger import Row, State, fence
from leadstream_events.redis_client import Client, classify
from tests.support.entries import LEADS, OUTCOMES, commit, lead_event, pending

GROUP, ME, OTHER = "group", "me", "other"
LEDGER = keys.ledger(0, "lead-1")
DUE = keys.due(0, GROUP)
COUNTERS = "leadstream:{0}:counters"


async def deliver(client: Client, number: int, consumer: str = ME) -> list[str]:
    """Stores entries and hands them to a consumer of the group."""
    if not await client.exists(LEADS):
        await client.xgroup_create(LEADS, GROUP, "0", mkstream=True)
    ids = [(await client.xadd(LEADS, {"n": n})).decode() for n in range(number)]
    await client.xreadgroup(GROUP, consumer, {LEADS: ">"})
    return ids


async def mark(client: Client) -> bytes | None:
    value: bytes | None = await client.hget(keys.checkpoints(0), f"{GROUP} {LEADS}")
    return value


async def test_an_acknowledgement_carries_its_effects_out_once(client: Client) -> None:
    (entry,) = await deliver(client, 1)
    effects = (append(OUTCOMES, lead_event()), count(COUNTERS, "sent"), set_field(LEDGER, "mail", "row"))
    assert await commit(client, GROUP, ME, Settlement(LEADS, entry, effects)) == [1]
    assert await commit(client, GROUP, ME, Settlement(LEADS, entry, effects)) == [0]
    assert await client.xlen(OUTCOMES) == 1
    assert await client.hget(COUNTERS, "sent") == b"1"
    assert await client.hget(LEDGER, "mail") == b"row"
    assert await pending(client, LEADS, GROUP) == {}


async def test_a_redelivered_entry_counts_once_for_both_of_its_workers(client: Client) -> None:
    (entry,) = await deliver(client, 1)
    await client.xclaim(LEADS, GROUP, OTHER, 0, [entry])
    settlement = Settlement(LEADS, entry, (count(COUNTERS, "sent"),))
    assert await commit(client, GROUP, ME, settlement) == [1]
    assert await commit(client, GROUP, OTHER, settlement) == [0]
    assert await client.hget(COUNTERS, "sent") == b"1"


async def test_one_entry_twice_in_a_batch_counts_once(client: Client) -> None:
    (entry,) = await deliver(client, 1)
    settlement = Settlement(LEADS, entry, (count(COUNTERS, "sent"),))
    assert await commit(client, GROUP, ME, settlement, settlement) == [1, 0]
    assert await client.hget(COUNTERS, "sent") == b"1"


async def test_once_skips_exactly_its_own_effects_when_the_field_is_there(client: Client) -> None:
    first, second = await deliver(client, 2)
    guarded = once(LEDGER, "mail", "row", [count(COUNTERS, "inner"), count(COUNTERS, "inner")])
    effects = (count(COUNTERS, "before"), *guarded, count(COUNTERS, "after"))
    await commit(client, GROUP, ME, Settlement(LEADS, first, effects), Settlement(LEADS, second, effects))
    assert await client.hgetall(COUNTERS) == {b"before": b"2", b"inner": b"2", b"after": b"2"}
    assert await client.hget(LEDGER, "mail") == b"row"


async def test_once_at_the_end_of_an_entry_does_not_skip_into_the_next(client: Client) -> None:
    first, second = await deliver(client, 2)
    await client.hset(LEDGER, "mail", "there")
    guarded = once(LEDGER, "mail", "row", [count(COUNTERS, "inner")])
    plain = (count(COUNTERS, "next"),)
    await commit(client, GROUP, ME, Settlement(LEADS, first, guarded), Settlement(LEADS, second, plain))
    assert await client.hgetall(COUNTERS) == {b"next": b"1"}


async def test_the_greatest_text_stays_whatever_the_order(client: Client) -> None:
    ids = await deliver(client, 3)
    values = ["2026-01-02", "2026-01-03", "2026-01-01"]
    for entry, value in zip(ids, values, strict=True):
        await commit(client, GROUP, ME, Settlement(LEADS, entry, (set_greatest(COUNTERS, "last", value),)))
    assert await client.hget(COUNTERS, "last") == b"2026-01-03"


async def test_a_lifetime_is_set(client: Client) -> None:
    (entry,) = await deliver(client, 1)
    await commit(client, GROUP, ME, Settlement(LEADS, entry, (count(COUNTERS, "n"), expire(COUNTERS, 100))))
    assert 0 < await client.ttl(COUNTERS) <= 100


async def test_a_parked_entry_stays_pending_and_is_due_by_the_servers_clock(client: Client) -> None:
    (entry,) = await deliver(client, 1)
    before = await client.time()
    parked = Settlement(LEADS, entry, (due(DUE, LEADS, entry, 60.0),), Verb.PARK)
    assert await commit(client, GROUP, ME, parked) == [1]
    after = await client.time()
    assert await pending(client, LEADS, GROUP) == {entry: (keys.PARKED, 1)}
    score = await client.zscore(DUE, f"leads {entry}")
    earliest, latest = (seconds * 1000 + micros // 1000 + 60_000 for seconds, micros in (before, after))
    assert earliest <= score <= latest


async def test_only_the_owner_parks_an_entry(client: Client) -> None:
    (entry,) = await deliver(client, 1, OTHER)
    parked = Settlement(LEADS, entry, (due(DUE, LEADS, entry, 0.0),), Verb.PARK)
    assert await commit(client, GROUP, ME, parked) == [0]
    assert await pending(client, LEADS, GROUP) == {entry: (OTHER, 1)}
    assert not await client.exists(DUE)


async def test_a_repeated_park_after_a_lost_reply_changes_nothing(client: Client) -> None:
    (entry,) = await deliver(client, 1)
    parked = Settlement(LEADS, entry, (due(DUE, LEADS, entry, 60.0), count(COUNTERS, "n")), Verb.PARK)
    assert await commit(client, GROUP, ME, parked) == [1]
    score = await client.zscore(DUE, f"leads {entry}")
    assert await commit(client, GROUP, ME, parked) == [0]
    assert await client.zscore(DUE, f"leads {entry}") == score
    assert await client.hget(COUNTERS, "n") == b"1"


def _fenced(entry: str, verb: Verb = Verb.ACK) -> Settlement:
    done = Row(State.SENT, 1, 0, entry=entry)
    effects = (set_field(LEDGER, "mail", str(done)), count(COUNTERS, "sent"))
    return Settlement(LEADS, entry, effects, verb, fence(LEDGER, "mail", 1, 0, ME))


async def test_a_fence_that_holds_lets_the_attempts_owner_settle_even_a_claimed_entry(client: Client) -> None:
    (entry,) = await deliver(client, 1)
    await client.hset(LEDGER, "mail", str(Row(State.SENDING, 1, 0, ME, "data", 5, entry)))
    await client.xclaim(LEADS, GROUP, OTHER, 0, [entry])
    assert await commit(client, GROUP, ME, _fenced(entry)) == [1]
    assert await commit(client, GROUP, ME, _fenced(entry)) == [0]
    assert await client.hget(COUNTERS, "sent") == b"1"
    assert await pending(client, LEADS, GROUP) == {}


@pytest.mark.parametrize(
    "row",
    [
        None,
        str(Row(State.SENDING, 1, 0, OTHER, "data", 5, "1-1")),
        str(Row(State.SENDING, 2, 0, ME, "data", 5, "1-1")),
        str(Row(State.SENDING, 1, 1, ME, "data", 5, "1-1")),
        str(Row(State.SENDING, 11, 0, ME, "data", 5, "1-1")),
        str(Row(State.SENDING, 1, 0, ME + "2", "data", 5, "1-1")),
        str(Row(State.SENT, 1, 0, ME, "data", 5, "1-1")),
    ],
)
@pytest.mark.parametrize("verb", list(Verb))
async def test_a_fence_of_another_attempt_changes_nothing(client: Client, row: str | None, verb: Verb) -> None:
    (entry,) = await deliver(client, 1)
    if row:
        await client.hset(LEDGER, "mail", row)
    assert await commit(client, GROUP, ME, _fenced(entry, verb)) == [0]
    assert await pending(client, LEADS, GROUP) == {entry: (ME, 1)}
    assert not await client.exists(COUNTERS)
    assert await client.hget(LEDGER, "mail") == (row.encode() if row else None)


async def test_the_checkpoint_is_the_last_entry_when_nothing_is_pending(client: Client) -> None:
    ids = await deliver(client, 3)
    await commit(client, GROUP, ME, *(Settlement(LEADS, entry) for entry in ids))
    assert await mark(client) == ids[-1].encode()


async def test_the_checkpoint_stays_below_the_oldest_pending_entry(client: Client) -> None:
    ids = await deliver(client, 3)
    await commit(client, GROUP, ME, Settlement(LEADS, ids[0]), Settlement(LEADS, ids[2]))
    assert await mark(client) == b"<" + ids[1].encode()


async def test_a_parked_entry_holds_the_checkpoint_back(client: Client) -> None:
    ids = await deliver(client, 2)
    parked = Settlement(LEADS, ids[0], (due(DUE, LEADS, ids[0], 60.0),), Verb.PARK)
    await commit(client, GROUP, ME, parked, Settlement(LEADS, ids[1]))
    assert await mark(client) == b"<" + ids[0].encode()


async def test_a_group_that_is_gone_acknowledges_nothing_and_keeps_its_checkpoint(client: Client) -> None:
    first, second = await deliver(client, 2)
    await commit(client, GROUP, ME, Settlement(LEADS, first))
    before = await mark(client)
    await client.xgroup_destroy(LEADS, GROUP)
    assert await commit(client, GROUP, ME, Settlement(LEADS, second, (count(COUNTERS, "n"),))) == [0]
    assert not await client.exists(COUNTERS)
    assert await mark(client) == before


async def test_a_batch_of_200_entries_is_one_commit(client: Client) -> None:
    ids = await deliver(client, 200)
    effects = (count(COUNTERS, "n"), append(OUTCOMES, lead_event()))
    replies = await commit(client, GROUP, ME, *(Settlement(LEADS, entry, effects) for entry in ids))
    assert replies == [1] * 200
    assert await client.hget(COUNTERS, "n") == b"200"
    assert await client.xlen(OUTCOMES) == 200


async def test_a_full_server_lets_a_begun_commit_through_whole(client: Client) -> None:
    (entry,) = await deliver(client, 1)
    settlement = Settlement(LEADS, entry, (append(OUTCOMES, lead_event()), count(COUNTERS, "n")))
    await client.config_set("maxmemory", "1")
    try:
        done = await commit(client, GROUP, ME, settlement)
    finally:
        await client.config_set("maxmemory", "0")
    assert done == [1]
    assert (await pending(client, LEADS, GROUP), await client.xlen(OUTCOMES)) == ({}, 1)
    assert await client.hget(COUNTERS, "n") == b"1"


@pytest.mark.parametrize(
    "effect",
    [append(COUNTERS, lead_event()), count(COUNTERS, "n"), due(COUNTERS, LEADS, "1-1", 0.0)],
    ids=["stream", "hash", "sorted set"],
)
async def test_a_key_of_another_type_fails_the_commit_before_anything_is_changed(
    client: Client, effect: Effect
) -> None:
    first, second = await deliver(client, 2)
    await client.set(COUNTERS, "somebody else's")
    good, bad = Settlement(LEADS, first, (append(OUTCOMES, lead_event()),)), Settlement(LEADS, second, (effect,))
    with pytest.raises(ResponseError) as caught:
        await commit(client, GROUP, ME, good, bad)
    trouble = classify(caught.value)
    assert trouble
    assert trouble.cause is RedisCause.WRONGTYPE
    assert set(await pending(client, LEADS, GROUP)) == {first, second}
    assert not await client.exists(OUTCOMES)
    assert await client.get(COUNTERS) == b"somebody else's"


async def test_entries_that_are_finished_together_count_their_sum_once(client: Client) -> None:
    ids = await deliver(client, 3)
    assert await commit(client, GROUP, ME, together(LEADS, ids, [count(COUNTERS, "sent", 3)])) == [1]
    assert await commit(client, GROUP, ME, together(LEADS, ids, [count(COUNTERS, "sent", 3)])) == [0]
    assert await client.hget(COUNTERS, "sent") == b"3"
    assert await pending(client, LEADS, GROUP) == {}


async def test_of_entries_that_are_finished_together_none_is_when_one_is_already(client: Client) -> None:
    ids = await deliver(client, 3)
    await client.xack(LEADS, GROUP, ids[1])
    assert await commit(client, GROUP, ME, together(LEADS, ids, [count(COUNTERS, "sent", 3)])) == [0]
    assert await client.hget(COUNTERS, "sent") is None
    assert set(await pending(client, LEADS, GROUP)) == {ids[0], ids[2]}
