"""stop(): what was begun is finished, the rest is given back at once, and nothing outlasts the drain deadline."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from leadstream_events import keys
from leadstream_events.effects import Settlement, count
from leadstream_events.redis_client import Client, connect
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.runtime.policy import ConsumerPolicy
from leadstream_events.runtime.service import consumer
from tests.integration.runtime.harness import (
    FAST,
    GROUP,
    HANDLED,
    LONG_LEASE,
    RecordingHooks,
    counted,
    running,
    settings_of,
)
from tests.support.entries import LEADS, add_lead, pending
from tests.support.redis_server import ServerFactory
from tests.support.waiting import eventually


class Impatient(ConsumerPolicy):
    """A policy that forgets consumers soon."""

    @property
    def forget_consumers_after_s(self) -> float:
        return 0.5


async def names(client: Client) -> set[str]:
    return {item["name"].decode() for item in await client.xinfo_consumers(LEADS, GROUP)}


async def test_what_was_begun_is_finished_and_the_name_is_gone(redis_url: str, client: Client) -> None:
    async with running(redis_url, policy=LONG_LEASE, prepare=lambda recorder: recorder.gate.clear()) as me:
        entry = await add_lead(client)
        await me.hooks.until(lambda: me.hooks.counts["begun"])
        assert await names(client) == {"me"}
        me.consumer.stop()
        me.recorder.gate.set()
        await me.stop()
    assert await counted(client) == {entry: 1}
    assert await pending(client, LEADS, GROUP) == {}
    assert await names(client) == set()


async def test_thirty_starts_and_stops_leave_no_consumer_behind(redis_url: str, client: Client) -> None:
    for number in range(30):
        async with running(redis_url, f"boot-{number}") as me:
            await add_lead(client)
            await me.hooks.until(lambda me=me: me.hooks.counts["settled:ack"] == 1)  # type: ignore[misc]
    assert await names(client) == set()
    assert set((await counted(client)).values()) == {1}


async def test_dead_consumers_that_own_nothing_are_forgotten(redis_url: str, client: Client) -> None:
    await client.xgroup_create(LEADS, GROUP, "0", mkstream=True)
    for number in range(30):
        await client.xgroup_createconsumer(LEADS, GROUP, f"dead-{number}")
    await client.xgroup_createconsumer(LEADS, GROUP, keys.PARKED)
    await add_lead(client)  # Redis 7.0 knows a consumer only once it has read something
    async with running(redis_url, policy=Impatient(lease_s=0.2, block_s=0.2)):

        async def only_the_living() -> bool:
            return await names(client) == {"me", keys.PARKED}

        await eventually(only_the_living, "dead consumers to be forgotten")


class HalfBegun:
    """A handler that takes everything and begins only the first delivery."""

    consumer: Consumer

    def __init__(self) -> None:
        self.queue: list[Delivery] = []
        self.may_finish = asyncio.Event()
        self.got = asyncio.Event()

    def room(self) -> int:
        return max(0, 10 - len(self.queue))

    async def wait_for_room(self) -> None:
        await asyncio.Event().wait()

    def take(self, deliveries: Sequence[Delivery]) -> None:
        self.queue += deliveries
        if len(self.queue) == 10:
            self.got.set()

    async def drain(self) -> Sequence[Delivery]:
        await self.may_finish.wait()
        first, *rest = self.queue
        await self.consumer.settle(Settlement(first.stream, first.entry_id, (count(HANDLED, first.entry_id),)))
        return rest


async def test_what_was_not_begun_goes_to_the_next_worker_at_once(redis_url: str, client: Client) -> None:
    ids = [await add_lead(client) for _ in range(10)]
    handler = HalfBegun()
    wiring = consumer(
        settings_of(redis_url),
        LONG_LEASE,
        group=GROUP,
        partition=0,
        streams=[keys.LEADS],
        name="me",
        make_handler=lambda *_: handler,
        hooks=RecordingHooks(),
    )
    async with wiring as made:
        task = asyncio.create_task(made.run())
        await asyncio.wait_for(handler.got.wait(), 20)
        made.stop()
        handler.may_finish.set()
        await asyncio.wait_for(task, 20)
    assert await counted(client) == {ids[0]: 1}
    assert await names(client) == {keys.PARKED}
    async with running(redis_url, "next", policy=LONG_LEASE) as following:
        await following.hooks.until(lambda: len(following.recorder.handled) == 9, within_s=30.0)
    assert await counted(client) == dict.fromkeys(ids, 1)
    assert await pending(client, LEADS, GROUP) == {}


async def test_an_idle_consumer_stops_at_once(redis_url: str, client: Client) -> None:
    async with running(redis_url, policy=replace(FAST, block_s=5.0)) as me:
        entry = await add_lead(client)
        await me.hooks.until(lambda: me.recorder.handled == [entry])
        started = time.monotonic()
        await me.stop()
        assert time.monotonic() - started < 4.5, "a read blocks for five seconds"


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_stopping_without_redis_keeps_to_the_drain_deadline(fresh_server: ServerFactory, how: str) -> None:
    server = fresh_server()
    policy = replace(LONG_LEASE, drain_s=1.0)
    async with running(server.url, policy=policy) as me:
        await me.hooks.until(lambda: me.consumer.last_tick_s)
        if how == "killed":
            server.kill()
            await me.hooks.until(lambda: me.consumer.trouble)
        else:
            os.kill(server.pid, signal.SIGSTOP)
        started = time.monotonic()
        await me.stop()
        took_s = time.monotonic() - started
        if how == "frozen":
            os.kill(server.pid, signal.SIGCONT)
    assert took_s < 4.5, "a command to Redis takes five seconds to fail"


async def test_stopping_without_redis_still_lets_the_handler_finish_what_it_began(
    fresh_server: ServerFactory,
) -> None:
    server = fresh_server()
    async with running(server.url, policy=LONG_LEASE, prepare=lambda recorder: recorder.gate.clear()) as me:
        client = connect(server.url, timeout_s=5.0)
        await add_lead(client)
        await client.aclose()
        await me.hooks.until(lambda: me.hooks.counts["begun"])
        server.kill()
        await me.hooks.until(lambda: me.consumer.trouble)
        me.consumer.stop()
        await asyncio.sleep(0)
        assert me.recorder.handled == []
        me.recorder.gate.set()
        await me.hooks.until(lambda: me.recorder.handled, within_s=30.0)
        await me.stop()


async def test_a_handler_that_never_ends_is_left_at_the_deadline_and_its_entry_stays(
    redis_url: str, client: Client
) -> None:
    policy = replace(LONG_LEASE, drain_s=0.5)
    async with running(redis_url, policy=policy, prepare=lambda recorder: recorder.gate.clear()) as me:
        entry = await add_lead(client)
        await me.hooks.until(lambda: me.hooks.counts["begun"])
        started = time.monotonic()
        await me.stop()
        assert time.monotonic() - started < 10.0, "the handler never ends"
        assert not [task for task in asyncio.all_tasks() if task.get_name() == f"batch-{GROUP}"]
    assert await pending(client, LEADS, GROUP) == {entry: ("me", 1)}
    assert await names(client) == {"me"}
