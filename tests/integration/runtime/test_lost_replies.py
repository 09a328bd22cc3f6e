"""Answers that never come: nothing is stranded, nothing happens twice, no connection answers the wrong question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis.exceptions

from leadstream_events import keys, scripts
from leadstream_events.redis_client import Client, connect
from leadstream_events.tasks import end
from tests.integration.runtime.harness import FAST, GROUP, LONG_LEASE, counted, deliver_to, running
from tests.support.entries import LEADS, add_lead, pending
from tests.support.redis_proxy import Fault, RedisProxy
from tests.support.waiting import eventually

SHORT = replace(FAST, silence_s=0.6, block_s=0.2)


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[RedisProxy]:
    async with RedisProxy(redis_url) as made:
        yield made


async def all_counted(client: Client, ids: list[str]) -> None:
    async def done() -> bool:
        return set(await counted(client)) >= set(ids) and not await pending(client, LEADS, GROUP)

    await eventually(done, "every entry to be finished")


@pytest.mark.parametrize("fault", [Fault.CUT_REPLY, Fault.DROP_REPLY])
async def test_an_entry_whose_reading_was_never_answered_comes_back_long_before_its_lease(
    proxy: RedisProxy, client: Client, fault: Fault
) -> None:
    async with running(proxy.url, policy=replace(SHORT, lease_s=600.0)) as me:
        rule = proxy.on(fault, b"XREADGROUP", reply_has=LEADS.encode())
        entry = await add_lead(client)
        await rule.hit()
        assert await pending(client, LEADS, GROUP) == {entry: ("me", 1)}
        await me.hooks.until(lambda: me.recorder.handled)
    assert (me.recorder.handled, await counted(client)) == ([entry], {entry: 1})
    assert me.hooks.counts["read:claimed"] == 1


async def test_a_commit_whose_answer_was_lost_takes_effect_once(proxy: RedisProxy, client: Client) -> None:
    async with running(proxy.url) as me:
        await add_lead(client)
        await me.hooks.until(lambda: me.hooks.counts["settled:ack"] == 1)  # the server knows the script now
        rule = proxy.on(Fault.CUT_REPLY, b"EVALSHA", scripts.COMMIT.sha.encode(), times=2)
        entry = await add_lead(client)
        await rule.hit()
        following = await add_lead(client)
        await all_counted(client, [entry, following])
        await me.hooks.until(lambda: not me.consumer.in_flight())
    assert set((await counted(client)).values()) == {1}


async def test_due_entries_whose_handing_over_was_never_answered_come_back(proxy: RedisProxy, client: Client) -> None:
    await client.xgroup_create(LEADS, GROUP, "0", mkstream=True)
    entry = await add_lead(client)
    await deliver_to(client, keys.PARKED, LEADS)
    await client.zadd(keys.due(0, GROUP), {f"leads {entry}": 0})
    await client.script_load(scripts.DUE.text)
    rule = proxy.on(Fault.CUT_REPLY, scripts.DUE.sha.encode(), reply_has=entry.encode())
    async with running(proxy.url) as me:
        await rule.hit()
        await me.hooks.until(lambda: me.recorder.handled)
    assert await counted(client) == {entry: 1}


async def test_unseen_entries_are_released_at_the_stop_and_need_no_lease(
    redis_url: str, proxy: RedisProxy, client: Client
) -> None:
    async with running(proxy.url, policy=LONG_LEASE) as me:
        rule = proxy.on(Fault.DROP_REPLY, b"XREADGROUP", reply_has=LEADS.encode())
        entry = await add_lead(client)
        await rule.hit()
    assert me.recorder.handled == []
    async with running(redis_url, "next", policy=LONG_LEASE) as following:
        await following.hooks.until(lambda: following.recorder.handled, within_s=30.0)
    assert await counted(client) == {entry: 1}


async def test_a_loop_that_reads_nothing_although_entries_wait_is_restarted(proxy: RedisProxy, client: Client) -> None:
    async with running(proxy.url, policy=SHORT) as me:
        first = await add_lead(client)
        await me.hooks.until(lambda: me.recorder.handled)
        rule = proxy.on(Fault.DROP_REQUEST, b"XREADGROUP", times=1)
        await rule.hit()
        second = await add_lead(client)
        await me.hooks.until(lambda: me.hooks.counts["restarted"])
        await me.hooks.until(lambda: len(me.recorder.handled) == 2)
        await me.hooks.until(lambda: me.hooks.counts["recovered"])
    assert await counted(client) == {first: 1, second: 1}


async def test_an_idle_consumer_raises_no_timeout_and_is_not_restarted(proxy: RedisProxy, client: Client) -> None:
    patient = replace(SHORT, backoff_max_s=5.0)  # a process that stood still for a moment is no silent one
    async with running(proxy.url, policy=patient) as me:
        await asyncio.sleep(5 * SHORT.silence_s)  # the absence of a restart can only be seen over time
        assert me.consumer.trouble is None
        entry = await add_lead(client)
        await me.hooks.until(lambda: me.recorder.handled)
    assert me.recorder.handled == [entry]
    assert [name for name in me.hooks.counts if name.startswith(("trouble", "restarted"))] == []


async def test_a_cancelled_command_leaves_no_answer_for_the_next_one(proxy: RedisProxy) -> None:
    client = connect(proxy.url, timeout_s=5.0, max_connections=1)
    await client.set("a", "of a")
    await client.set("b", "of b")
    rule = proxy.on(Fault.HOLD_REPLY, b"GET", b"\r\na\r\n")
    asked = asyncio.create_task(client.get("a"))
    await rule.hit()
    await end(asked)
    rule.release()
    assert [await client.get(name) for name in "bab"] == [b"of b", b"of a", b"of b"]
    await client.aclose()


async def test_a_timed_out_pipeline_leaves_no_answers_behind(proxy: RedisProxy) -> None:
    client = connect(proxy.url, timeout_s=1.0, max_connections=1)
    await client.set("b", "of b")
    proxy.on(Fault.DROP_REPLY, b"GET", b"\r\na\r\n")
    async with client.pipeline(transaction=False) as pipe:
        pipe.get("a")
        pipe.get("b")
        with pytest.raises(redis.exceptions.TimeoutError):
            async with asyncio.timeout(5):
                await pipe.execute()
    assert await client.get("b") == b"of b"
    await client.aclose()


async def test_everything_swallowed_and_back_again_loses_and_doubles_nothing(proxy: RedisProxy, client: Client) -> None:
    async with running(proxy.url, policy=SHORT) as me:
        ids = [await add_lead(client)]
        await me.hooks.until(lambda: me.recorder.handled)
        rule = proxy.swallow_everything()
        await rule.hit()
        ids.append(await add_lead(client))
        await me.hooks.until(lambda: me.hooks.counts["trouble:timeout"], within_s=15.0)
        proxy.mend()
        await all_counted(client, ids)
    assert await counted(client) == dict.fromkeys(ids, 1)
