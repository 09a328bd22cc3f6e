"""The stream log: a lead is stored once, whatever becomes of the answer, and read back by its place."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from leadstream_events import keys
from leadstream_events.errors import Backpressure, Conflict, RedisCause
from leadstream_events.log import Durability, StreamLog
from leadstream_events.redis_client import Client, connect
from leadstream_events.writer import PipelinedWriter
from tests.support.entries import LEADS, lead_event
from tests.support.redis_proxy import Fault, RedisProxy
from tests.support.redis_server import ServerFactory
from tests.support.waiting import eventually


@asynccontextmanager
async def log_on(
    url: str, *, deadline_s: float = 5.0, partitions: int = 1, timeout_s: float = 5.0
) -> AsyncIterator[StreamLog]:
    client = connect(url, timeout_s=timeout_s)
    async with PipelinedWriter(client) as writer:
        yield StreamLog(client, writer, partitions=partitions, deadline_s=deadline_s)
    await client.aclose()


async def is_stored(log: StreamLog, lead: str, repeated: bool = False) -> bool:
    """Stores a lead; False while the log's short deadline passes. `repeated`: true for one that was there before."""
    try:
        done = await log.append_lead(lead_event(lead), "print")
    except Backpressure:
        return False
    return done.repeated or not repeated


async def test_a_lead_is_appended_once_and_repeated_after(redis_url: str, raw: Client) -> None:
    async with log_on(redis_url) as log:
        first = await log.append_lead(lead_event("lead-1"), "print")
        again = await log.append_lead(lead_event("lead-1"), "print")
        assert (first.repeated, again.repeated, again.entry_id) == (False, True, first.entry_id)
        with pytest.raises(Conflict):
            await log.append_lead(lead_event("lead-1"), "other")
    assert await raw.xlen(LEADS) == 1


async def test_many_callers_with_one_lead_append_it_once(redis_url: str, raw: Client) -> None:
    async with log_on(redis_url) as log:
        done = await asyncio.gather(*(log.append_lead(lead_event("lead-1"), "print") for _ in range(50)))
    assert [item.repeated for item in done].count(False) == 1
    assert len({item.entry_id for item in done}) == await raw.xlen(LEADS) == 1


@pytest.mark.parametrize("fault", [Fault.CUT_REPLY, Fault.DROP_REPLY])
async def test_a_repeated_append_after_a_lost_answer_gives_one_entry(redis_url: str, raw: Client, fault: Fault) -> None:
    async with RedisProxy(redis_url) as proxy, log_on(proxy.url, deadline_s=0.5) as log:
        await eventually(lambda: is_stored(log, "first"), "the first lead to be stored")
        proxy.on(fault, b"EVALSHA", b"lead-1")
        with pytest.raises(Backpressure) as caught:
            await log.append_lead(lead_event("lead-1"), "print")
        assert caught.value.cause in (RedisCause.DOWN, RedisCause.TIMEOUT)

        await eventually(lambda: is_stored(log, "lead-1", repeated=True), "the append to be answered")
    assert await raw.xlen(LEADS) == 2


async def test_a_server_that_thaws_after_the_deadline_stores_nothing_that_was_refused(
    fresh_server: ServerFactory,
) -> None:
    server = fresh_server()
    async with log_on(server.url, deadline_s=0.3, timeout_s=30.0) as log:
        await eventually(lambda: is_stored(log, "before"), "the lead before")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(Backpressure):
                await log.append_lead(lead_event("late"), "print")
            assert time.monotonic() - started < 10.0  # by the log's deadline, not by the client's
            await asyncio.sleep(0.1)  # past the deadline on the server's clock too
        finally:
            os.kill(server.pid, signal.SIGCONT)

        await eventually(lambda: is_stored(log, "after"), "the log to work again")
        stored = [entry.event.subject for entry in await log.newest(LEADS, 10) if entry.event]
        assert stored == ["after", "before"]


async def test_entries_are_read_back_by_their_places_and_newest_first(redis_url: str, raw: Client) -> None:
    async with log_on(redis_url) as log:
        ids = [(await log.append_lead(lead_event(f"lead-{n}"), "print")).entry_id for n in range(5)]
        broken = (await raw.xadd(LEADS, {"foo": "bar"})).decode()
        entry = await log.read(LEADS, ids[0])
        assert entry
        assert entry.event
        assert entry.event.subject == "lead-0"
        assert await log.read(LEADS, "1-1") is None
        many = await log.read_many([(LEADS, ids[1]), (LEADS, "1-1"), (LEADS, broken)])
        assert [item and item.entry_id for item in many] == [ids[1], None, broken]
        assert many[2]
        assert many[2].problem
        assert many[2].problem.cause == "missing_field"
        assert [item.entry_id for item in await log.newest(LEADS, 2)] == [broken, ids[4]]
        assert [item.entry_id for item in await log.newest(LEADS, 2, before=ids[4])] == [ids[3], ids[2]]


async def test_leads_of_several_partitions_go_where_their_id_says(redis_url: str, raw: Client) -> None:
    async with log_on(redis_url, partitions=4) as log:
        for number in range(40):
            await log.append_lead(lead_event(f"lead-{number}"), "print")
        for partition in range(4):
            entries = await log.newest(keys.stream(partition, keys.LEADS), 100)
            assert entries
            assert {log.partition(entry.event.subject) for entry in entries if entry.event} == {partition}


@pytest.mark.parametrize(("appendfsync", "expected"), [("always", Durability.FSYNCED), ("everysec", Durability.MEMORY)])
async def test_durability_is_what_the_server_does(
    fresh_server: ServerFactory, appendfsync: str, expected: Durability
) -> None:
    async with log_on(fresh_server(appendfsync=appendfsync).url) as log:
        assert await log.durability() is expected


async def test_a_server_that_does_not_tell_counts_as_memory(tmp_path: object) -> None:
    async with log_on(f"unix://{tmp_path}/nobody") as log:
        assert await log.durability() is Durability.MEMORY
