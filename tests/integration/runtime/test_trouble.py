"""Redis refuses, forgets or goes away: the consumer says why, comes back by itself, and loses and doubles nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import structlog
from redis.exceptions import BusyLoadingError

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events.effects import Settlement, count
from leadstream_events.errors import Permanent
from leadstream_events.redis_client import Client, connect
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.runtime.policy import ConsumerPolicy
from tests.integration.runtime.harness import GROUP, HANDLED, LONG_LEASE, Running, counted, running
from tests.support.entries import LEADS, add_lead, pending
from tests.support.ports import free_port
from tests.support.redis_server import ServerFactory
from tests.support.waiting import eventually

Step = Callable[[Client], Awaitable[object]]


@pytest.fixture
def server(fresh_server: ServerFactory) -> EmbeddedServer:
    return fresh_server()


@asynccontextmanager
async def client_of(server: EmbeddedServer) -> AsyncIterator[Client]:
    client = connect(server.url, timeout_s=5.0)
    try:
        yield client
    finally:
        await client.aclose()


async def finished(client: Client, ids: list[str]) -> None:
    async def done() -> bool:
        return set(await counted(client)) >= set(ids) and not await pending(client, LEADS, GROUP)

    await eventually(done, "every entry to be finished")


async def survives(client: Client, me: Running, cause: str, spoil: Step, mend: Step) -> None:
    """One entry before, one during (where it can be stored) and one after the trouble: each is handled once."""
    ids = [await add_lead(client)]
    await finished(client, ids)
    await spoil(client)
    await me.hooks.until(lambda: me.consumer.trouble and me.consumer.trouble.value == cause)
    assert me.hooks.counts[f"trouble:{cause}"]
    await mend(client)
    ids.append(await add_lead(client))
    await finished(client, ids)
    await me.hooks.until(lambda: me.consumer.trouble is None and me.hooks.counts["recovered"])
    assert await counted(client) == dict.fromkeys(ids, 1)
    assert me.recorder.handled == ids


async def nothing(_: Client) -> None:
    """The consumer mends it by itself."""


async def test_a_replica_is_left_alone_until_it_is_a_primary_again(server: EmbeddedServer) -> None:
    async with client_of(server) as client, running(server.url, policy=LONG_LEASE) as me:

        async def spoil(client: Client) -> None:
            await client.replicaof("127.0.0.1", "1")

        async def mend(client: Client) -> None:
            await client.replicaof("NO", "ONE")

        await survives(client, me, "readonly", spoil, mend)


async def test_a_server_that_cannot_write_its_snapshot_is_waited_for(server: EmbeddedServer) -> None:
    blocker = server.data_dir / "dump.rdb"

    async def spoil(client: Client) -> None:
        blocker.unlink(missing_ok=True)
        blocker.mkdir()
        await client.config_set("save", "3600 1")
        await client.config_set("stop-writes-on-bgsave-error", "yes")
        await client.bgsave()

    async def mend(client: Client) -> None:
        blocker.rmdir()
        await client.config_set("stop-writes-on-bgsave-error", "no")

    async with client_of(server) as client, running(server.url, policy=LONG_LEASE) as me:
        await survives(client, me, "misconf", spoil, mend)


async def test_a_group_that_was_destroyed_is_created_at_its_checkpoint(server: EmbeddedServer) -> None:
    async with client_of(server) as client, running(server.url, policy=LONG_LEASE) as me:
        await survives(client, me, "nogroup", lambda c: c.xgroup_destroy(LEADS, GROUP), nothing)


async def test_what_came_while_the_group_was_gone_is_handled_too(server: EmbeddedServer) -> None:
    async with client_of(server) as client:
        async with running(server.url) as me:
            ids = [await add_lead(client) for _ in range(3)]
            await finished(client, ids)
        assert me.recorder.handled == ids
        await client.xgroup_destroy(LEADS, GROUP)
        ids += [await add_lead(client) for _ in range(3)]
        async with running(server.url) as me:
            await finished(client, ids)
        assert me.recorder.handled == ids[3:]
        assert await counted(client) == dict.fromkeys(ids, 1)


async def test_a_lost_group_with_pending_entries_starts_below_the_oldest_of_them(server: EmbeddedServer) -> None:
    async with client_of(server) as client:
        ids = [await add_lead(client) for _ in range(4)]

        async with running(server.url, policy=LONG_LEASE) as me:
            await finished(client, ids)
            me.recorder.gate.clear()
            ids += [await add_lead(client) for _ in range(3)]
            await me.hooks.until(lambda: me.hooks.counts["begun"] > 4)
            await client.xgroup_destroy(LEADS, GROUP)
            await me.hooks.until(lambda: me.consumer.trouble)
            me.recorder.gate.set()
            await finished(client, ids)
    assert set(me.recorder.handled) == set(ids)


async def test_a_flushed_server_is_worked_on_again(server: EmbeddedServer) -> None:
    async with client_of(server) as client, running(server.url, policy=LONG_LEASE) as me:
        await finished(client, [await add_lead(client)])
        started = time.monotonic()
        await client.flushall()
        entry = await add_lead(client)
        await finished(client, [entry])
        assert time.monotonic() - started < 10
        assert me.hooks.counts["trouble:nogroup"] < 5


async def test_a_stream_key_of_another_type_is_named_and_never_deleted(server: EmbeddedServer) -> None:
    async with client_of(server) as client:
        await client.set(LEADS, "somebody else's")
        async with running(server.url) as me:
            await me.hooks.until(lambda: me.consumer.trouble and me.consumer.trouble.value == "wrongtype")
            assert await client.get(LEADS) == b"somebody else's"
            await client.delete(LEADS)
            await finished(client, [await add_lead(client)])


async def test_a_full_server_is_waited_for_and_the_begun_batch_is_finished(server: EmbeddedServer) -> None:
    async with client_of(server) as client:
        async with running(server.url, policy=LONG_LEASE, prepare=lambda recorder: recorder.gate.clear()) as me:
            entry = await add_lead(client)
            await me.hooks.until(lambda: me.hooks.counts["begun"])
            await client.config_set("maxmemory", "1")
            me.recorder.gate.set()
            await finished(client, [entry])
            await client.config_set("maxmemory", "0")
        assert await counted(client) == {entry: 1}


async def test_forgotten_scripts_are_told_again_without_a_word(server: EmbeddedServer) -> None:
    async with client_of(server) as client, running(server.url) as me:
        ids = [await add_lead(client)]
        await finished(client, ids)
        await client.script_flush()
        ids.append(await add_lead(client))
        await finished(client, ids)
        assert not [name for name in me.hooks.counts if name.startswith("trouble")]


async def test_a_killed_server_that_comes_back_is_worked_on_again(fresh_server: ServerFactory) -> None:
    port = free_port()
    server = fresh_server(appendfsync="always", port=port)
    directory = server.data_dir
    async with running(server.url, policy=LONG_LEASE) as me:
        async with client_of(server) as client:
            ids = [await add_lead(client) for _ in range(5)]
            await finished(client, ids)
            me.recorder.gate.clear()
            ids.append(await add_lead(client))
            await me.hooks.until(lambda: me.hooks.counts["begun"] == 6)
        server.kill()
        await me.hooks.until(lambda: me.consumer.trouble and me.consumer.trouble.value == "down")
        me.recorder.gate.set()
        again = await asyncio.to_thread(fresh_server, directory, appendfsync="always", port=port)
        async with client_of(again) as client:
            ids.append(await add_lead(client))
            await finished(client, ids)
            assert await counted(client) == dict.fromkeys(ids, 1)
        await me.hooks.until(lambda: me.consumer.trouble is None)


@pytest.mark.parametrize("bad", [False, True])
async def test_a_batch_that_alone_met_trouble_says_when_it_goes_on(
    server: EmbeddedServer, fresh_server: ServerFactory, bad: bool
) -> None:
    """The consumer reads nothing while a batch is under way, so it may never notice: an operator waits for the end."""
    port = free_port()
    other = fresh_server(port=port)
    async with client_of(server) as client, client_of(other) as asked:

        async def handle(batch: Sequence[Delivery]) -> list[Settlement]:
            await asked.ping()
            if bad:
                raise Permanent("bad", "this one can never be handled")
            return [Settlement(item.stream, item.entry_id, (count(HANDLED, item.entry_id),)) for item in batch]

        other.kill()
        with structlog.testing.capture_logs() as lines:
            async with running(server.url, policy=LONG_LEASE, handle=handle) as me:
                entry = await add_lead(client)
                await me.hooks.until(lambda: me.hooks.counts["trouble:down"])
                await asyncio.to_thread(fresh_server, other.data_dir, port=port)
                await me.hooks.until(lambda: me.hooks.counts["settled:ack"])
                assert me.consumer.trouble is None
                assert me.hooks.counts["recovered"] == 1
        said = [line["event"] for line in lines if line["event"].startswith("redis")]
        assert said == ["redis cannot take work; the batch waits", "redis takes work again; the batch goes on"]
        assert await counted(client) == ({} if bad else {entry: 1})


async def test_a_server_that_loads_its_data_is_waited_for(fresh_server: ServerFactory) -> None:
    options = ["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"]
    server = fresh_server(extra=options)
    async with client_of(server) as client:
        entry = await add_lead(client)
        async with client.pipeline(transaction=False) as pipe:
            for number in range(2_000):
                pipe.set(f"filler:{number}", os.urandom(200))
            await pipe.execute()
        await client.config_set("key-load-delay", "5000")
        patient = connect(server.url, timeout_s=60.0)
        reloading = asyncio.create_task(patient.execute_command("DEBUG", "RELOAD"))
        await eventually(lambda: loading(client), "the server to load")
        async with running(server.url, policy=LONG_LEASE) as me:
            await me.hooks.until(lambda: me.hooks.counts["trouble:loading"])
            await client.config_set("key-load-delay", "0")
            await reloading
            await finished(client, [entry])
        await patient.aclose()
        assert await counted(client) == {entry: 1}


async def loading(client: Client) -> bool:
    try:
        await client.xlen(LEADS)
    except BusyLoadingError:
        return True
    return False


async def test_a_frozen_server_is_noticed_and_taken_up_again(server: EmbeddedServer) -> None:
    async with client_of(server) as client, running(server.url, policy=LONG_LEASE) as me:
        ids = [await add_lead(client)]
        await finished(client, ids)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await me.hooks.until(lambda: me.consumer.trouble and me.consumer.trouble.value == "timeout")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        ids.append(await add_lead(client))
        await finished(client, ids)
        assert await counted(client) == dict.fromkeys(ids, 1)


@pytest.mark.slow
async def test_a_group_destroyed_all_the_time_makes_no_hot_loop(server: EmbeddedServer) -> None:
    async with client_of(server) as client, running(server.url, policy=ConsumerPolicy()) as me:
        ids = [await add_lead(client)]
        await finished(client, ids)
        await client.config_resetstat()
        until = time.monotonic() + 10.0
        destroyed = 0
        while time.monotonic() < until:
            destroyed += await client.xgroup_destroy(LEADS, GROUP)
            await asyncio.sleep(0.1)  # the fault's own pace
        stats = await client.info("commandstats")
        calls = sum(stats.get(name, {"calls": 0})["calls"] for name in ("cmdstat_xreadgroup", "cmdstat_xgroup|create"))
        assert destroyed
        assert calls < 50
        ids.append(await add_lead(client))
        await finished(client, ids)
        assert me.recorder.handled == ids
