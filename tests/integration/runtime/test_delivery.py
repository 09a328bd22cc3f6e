"""Every entry is handled once for all its workers' trouble, or becomes a dead letter that says why."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import cast

import pytest

from leadstream_events import keys
from leadstream_events.effects import Settlement, due
from leadstream_events.envelope import decode, encode
from leadstream_events.errors import Permanent, Transient
from leadstream_events.log import read_entry
from leadstream_events.redis_client import Client
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.schemas.events import EntryDeadLettered
from tests.integration.runtime.harness import FAST, GROUP, LONG_LEASE, Recorder, counted, deliver_to, running
from tests.support.entries import DEAD, EMAILS, LEADS, add_lead, lead_event, pending
from tests.support.waiting import eventually


async def dead_letters(client: Client) -> list[EntryDeadLettered]:
    found = [read_entry(DEAD, *entry).event for entry in await client.xrange(DEAD)]
    return [cast(EntryDeadLettered, event.data) for event in found if event]


def stored_bytes(letter: EntryDeadLettered) -> dict[bytes, bytes]:
    unpack = base64.b64decode if letter.encoding == "base64" else str.encode
    return {unpack(name): unpack(value) for name, value in letter.fields.items()}


async def nothing_left(client: Client, stream: str = LEADS) -> None:
    async def done() -> bool:
        return not await pending(client, stream, GROUP)

    await eventually(done, "every entry to be finished")


async def test_entries_from_before_and_after_the_start_are_handled_once(redis_url: str, client: Client) -> None:
    first = await add_lead(client)
    async with running(redis_url) as me:
        second = await add_lead(client)
        await me.hooks.until(lambda: me.hooks.counts["settled:ack"] == 2)
    assert me.recorder.handled == [first, second]
    assert await counted(client) == {first: 1, second: 1}
    assert await pending(client, LEADS, GROUP) == {}
    assert me.consumer.in_flight() == []


async def test_two_consumers_share_the_entries_and_none_is_handled_twice(redis_url: str, client: Client) -> None:
    policy = replace(FAST, batch=3)
    async with running(redis_url, "one", policy=policy) as one, running(redis_url, "two", policy=policy) as two:
        ids = [await add_lead(client) for _ in range(60)]

        async def all_done() -> bool:
            return len(await counted(client)) == 60

        await eventually(all_done, "all to be handled")
    assert sorted(one.recorder.handled + two.recorder.handled) == sorted(ids)
    assert set((await counted(client)).values()) == {1}


async def test_an_orphan_is_claimed_after_its_lease_by_exactly_one_of_two(redis_url: str, client: Client) -> None:
    await client.xgroup_create(LEADS, GROUP, "0", mkstream=True)
    ids = [await add_lead(client) for _ in range(10)]
    await deliver_to(client, "dead", LEADS, 10)
    over_ms = int(LONG_LEASE.lease_s * 1000) + 1000
    await client.xclaim(LEADS, GROUP, "dead", 0, ids, idle=over_ms, justid=True)
    policy = LONG_LEASE  # none that was claimed is an orphan again while the others are
    async with running(redis_url, "one", policy=policy) as one, running(redis_url, "two", policy=policy) as two:
        await nothing_left(client)
    assert sorted(one.recorder.handled + two.recorder.handled) == sorted(ids)
    assert set((await counted(client)).values()) == {1}


async def test_a_slow_handler_keeps_its_entry_by_renewing_its_lease(redis_url: str, client: Client) -> None:
    policy = replace(FAST, lease_s=3.0)
    async with running(redis_url, "slow", policy=policy, prepare=lambda recorder: recorder.gate.clear()) as slow:
        entry = await add_lead(client)
        await slow.hooks.until(lambda: slow.hooks.counts["begun"])
        async with running(redis_url, "eager", policy=policy) as eager:
            await asyncio.sleep(1.5 * policy.lease_s)  # the absence of a claim can only be seen over time
            assert await pending(client, LEADS, GROUP) == {entry: ("slow", 1)}
            slow.recorder.gate.set()
            await nothing_left(client)
        assert eager.recorder.batches == []
    assert await counted(client) == {entry: 1}


async def test_an_entry_delivered_too_often_becomes_a_dead_letter_and_the_next_is_handled(
    redis_url: str, client: Client
) -> None:
    await client.xgroup_create(LEADS, GROUP, "0", mkstream=True)
    event = lead_event()
    poison = (await client.xadd(LEADS, encode(event))).decode()
    await deliver_to(client, "dead", LEADS)
    await client.xclaim(LEADS, GROUP, "dead", 0, [poison], retrycount=FAST.max_deliveries)
    following = await add_lead(client)
    async with running(redis_url) as me:
        await nothing_left(client)
        await me.hooks.until(lambda: me.hooks.counts["dead:poison"] == 1 and me.recorder.handled)
    (letter,) = await dead_letters(client)
    assert (letter.stream, letter.entry_id, letter.group, letter.cause) == ("leads", poison, GROUP, "poison")
    assert letter.deliveries == FAST.max_deliveries + 1
    assert decode(stored_bytes(letter)) == decode({k.encode(): v.encode() for k, v in encode(event).items()})
    assert await counted(client) == {following: 1}


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({b"data": b"\xff\xfe\x00"}, "missing_field"),
        ({b"\xff": b"1"}, "missing_field"),
        ({b"foo": b"bar"}, "missing_field"),
        ({k.encode(): v.encode() for k, v in encode(lead_event()).items()} | {b"subject": b"\xff"}, "bad_envelope"),
        ({k.encode(): v.encode() for k, v in encode(lead_event()).items()} | {b"v": b"99"}, "future_version"),
        ({k.encode(): v.encode() for k, v in encode(lead_event()).items()} | {b"type": b"Nonsense"}, "unknown_type"),
        ({k.encode(): v.encode() for k, v in encode(lead_event()).items()} | {b"data": b"{}"}, "bad_data"),
    ],
    ids=["bytes", "field-name", "missing", "subject", "future-version", "type", "data"],
)
async def test_an_entry_that_cannot_be_read_becomes_a_dead_letter_byte_for_byte(
    redis_url: str, client: Client, fields: dict[bytes, bytes], cause: str
) -> None:
    entry = (await client.xadd(LEADS, fields)).decode()
    following = await add_lead(client)
    async with running(redis_url) as me:
        await me.hooks.until(lambda: me.hooks.counts[f"dead:{cause}"] == 1 and me.recorder.handled)
        await nothing_left(client)
    (letter,) = await dead_letters(client)
    assert (letter.entry_id, letter.cause) == (entry, cause)
    assert stored_bytes(letter) == fields
    assert me.recorder.handled == [following]


async def test_entries_trimmed_while_pending_are_recorded_as_lost(redis_url: str, client: Client) -> None:
    await client.xgroup_create(LEADS, GROUP, "0", mkstream=True)
    ids = [await add_lead(client) for _ in range(5)]
    await deliver_to(client, "dead", LEADS, 3)
    await client.xtrim(LEADS, maxlen=1, approximate=False)
    async with running(redis_url) as me:
        await me.hooks.until(lambda: me.hooks.counts["dead:lost_trimmed"] == 3 and me.recorder.handled)
        await nothing_left(client)
    assert [letter.entry_id for letter in await dead_letters(client)] == ids[:3]
    assert {letter.cause for letter in await dead_letters(client)} == {"lost_trimmed"}
    assert me.recorder.handled == ids[4:]


async def test_a_parked_entry_that_was_trimmed_is_recorded_as_lost(redis_url: str, client: Client) -> None:
    await client.xgroup_create(LEADS, GROUP, "0", mkstream=True)
    entry = await add_lead(client)
    await deliver_to(client, keys.PARKED, LEADS)
    await client.zadd(keys.due(0, GROUP), {f"leads {entry}": 0})
    await client.xdel(LEADS, entry)
    async with running(redis_url) as me:
        await me.hooks.until(lambda: me.hooks.counts["dead:lost_trimmed"] == 1)
    assert await pending(client, LEADS, GROUP) == {}
    assert [letter.entry_id for letter in await dead_letters(client)] == [entry]


async def test_a_bug_takes_down_its_own_entry_and_no_other_of_the_batch(redis_url: str, client: Client) -> None:
    ids = [await add_lead(client, lead_id=f"lead-{n}") for n in range(8)]

    def fail(delivery: Delivery) -> Exception | None:
        assert delivery.event
        return KeyError("ada@example.com") if delivery.event.subject == "lead-5" else None

    async with running(redis_url, prepare=lambda recorder: setattr(recorder, "fail", fail)) as me:
        await me.hooks.until(lambda: me.hooks.counts["settled:ack"] == 8)
    (letter,) = await dead_letters(client)
    assert (letter.entry_id, letter.cause) == (ids[5], "handler_error")
    assert "KeyError" in letter.detail
    assert "ada@example.com" not in letter.detail
    assert sorted(await counted(client)) == sorted(set(ids) - {ids[5]})
    assert set((await counted(client)).values()) == {1}


async def test_a_permanent_error_names_its_own_cause(redis_url: str, client: Client) -> None:
    await add_lead(client)

    def prepare(recorder: Recorder) -> None:
        recorder.fail = lambda _: Permanent("no_such_template", "welcome")

    async with running(redis_url, prepare=prepare) as me:
        await me.hooks.until(lambda: me.hooks.counts["dead:no_such_template"] == 1)
    (letter,) = await dead_letters(client)
    assert (letter.cause, letter.detail) == ("no_such_template", "welcome")


async def test_a_transient_error_parks_the_batch_and_it_comes_back_when_due(redis_url: str, client: Client) -> None:
    entry = await add_lead(client)
    errors: list[Exception] = [Transient("later", 0.3), Transient("later", 1.0)]  # the last first: time to look at it

    def prepare(recorder: Recorder) -> None:
        recorder.fail = lambda _: errors.pop() if errors else None

    async with running(redis_url, policy=LONG_LEASE, prepare=prepare) as me:
        await me.hooks.until(lambda: me.hooks.counts["settled:park"] == 1)
        assert await pending(client, LEADS, GROUP) == {entry: (keys.PARKED, 1)}
        await me.hooks.until(lambda: me.recorder.handled)
    assert (me.hooks.counts["settled:park"], me.hooks.counts["read:due"]) == (2, 2)
    assert await counted(client) == {entry: 1}
    assert await pending(client, LEADS, GROUP) == {}


async def test_parked_entries_that_are_always_due_do_not_starve_new_ones(redis_url: str, client: Client) -> None:
    parked = {await add_lead(client, lead_id=f"parked-{n}") for n in range(30)}

    def prepare(recorder: Recorder) -> None:
        recorder.fail = lambda delivery: Transient("later", 0.0) if delivery.entry_id in parked else None

    async with running(redis_url, policy=replace(LONG_LEASE, batch=5), prepare=prepare) as me:
        await me.hooks.until(lambda: me.hooks.counts["read:due"] > 60)
        assert me.hooks.counts["restarted"] == 0
        entry = await add_lead(client)
        await me.hooks.until(lambda: me.recorder.handled, within_s=5.0)
        assert me.recorder.handled == [entry]
        me.recorder.fail = lambda _: None
        await nothing_left(client)
    assert sorted(await counted(client)) == sorted({*parked, entry})


async def test_an_entry_delivered_again_while_it_is_worked_on_is_not_worked_on_twice(
    redis_url: str, client: Client
) -> None:
    async with running(redis_url, policy=LONG_LEASE, prepare=lambda recorder: recorder.gate.clear()) as me:
        entry = await add_lead(client)
        await me.hooks.until(lambda: me.hooks.counts["begun"])
        await client.xgroup_destroy(LEADS, GROUP)
        await me.hooks.until(lambda: me.hooks.counts["trouble:nogroup"])
        me.recorder.gate.set()
        await me.hooks.until(lambda: me.recorder.handled)
        following = await add_lead(client)
        await me.hooks.until(lambda: me.recorder.handled[-1] == following)
        await nothing_left(client)
    assert (await counted(client))[entry] == 1


async def test_streams_are_read_together_and_finished_each_for_itself(redis_url: str, client: Client) -> None:
    async with running(redis_url, streams=(keys.LEADS, keys.EMAILS)) as me:
        lead = await add_lead(client)
        other = (await client.xadd(EMAILS, encode(lead_event()))).decode()
        await me.hooks.until(lambda: me.hooks.counts["settled:ack"] == 2)
    assert sorted(me.recorder.handled) == sorted([lead, other])
    assert await pending(client, LEADS, GROUP) == await pending(client, EMAILS, GROUP) == {}


async def test_a_handler_that_forgets_a_delivery_ends_the_consumer_with_a_reason(
    redis_url: str, client: Client
) -> None:
    async def forgetful(_: object) -> list[Settlement]:
        return []

    with pytest.raises(RuntimeError, match="settled no end of 1 deliveries"):
        async with running(redis_url, handle=forgetful) as me:
            await add_lead(client)
            await asyncio.wait_for(asyncio.shield(me.task), 20)


async def test_a_dead_consumers_50_000_entries_are_claimed_in_bounded_pages(redis_url: str, client: Client) -> None:
    await client.xgroup_create(LEADS, GROUP, "0", mkstream=True)
    fields = encode(lead_event())
    async with client.pipeline(transaction=False) as pipe:
        for _ in range(50_000):
            pipe.xadd(LEADS, fields)
        await pipe.execute()
    for _ in range(50):
        await client.xreadgroup(GROUP, "dead", {LEADS: ">"}, count=1_000)
    await client.config_set("slowlog-log-slower-than", "50000")
    await client.slowlog_reset()
    async with running(redis_url) as me:
        await me.hooks.until(lambda: me.hooks.counts["read:claimed"] >= 100)
        entry = await add_lead(client)
        await me.hooks.until(lambda: entry in me.recorder.handled)
    assert await client.slowlog_len() <= 2, "one per look would be dozens; a busy machine may stop a command once"
    assert max(len(batch) for batch in me.recorder.batches) <= 100


async def test_a_parked_member_of_another_group_is_left_alone(redis_url: str, client: Client) -> None:
    effect = due(keys.due(0, "other"), LEADS, "1-1", 0.0)
    await client.zadd(effect.key, {"leads 1-1": 0})
    async with running(redis_url) as me:
        await add_lead(client)
        await me.hooks.until(lambda: me.recorder.handled)
    assert await client.zcard(effect.key) == 1
