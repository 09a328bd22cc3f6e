"""The pipelined writer: every caller gets the answer to his own call, or learns in time that there is none."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ResponseError

from leadstream_events import keys, scripts
from leadstream_events.errors import Backpressure, RedisCause
from leadstream_events.redis_client import Client, classify, connect
from leadstream_events.reservations import Reservation
from leadstream_events.writer import MAX_BATCH, PipelinedWriter
from tests.support.redis_proxy import Fault, RedisProxy
from tests.support.redis_server import ServerFactory
from tests.support.waiting import eventually


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[RedisProxy]:
    async with RedisProxy(redis_url) as made:
        yield made


def reservation(number: int, purchased: int) -> tuple[list[str], list[str | int]]:
    item = Reservation(f"mail-{number}", "who", purchased)
    return [keys.reserved(item.subscriber_id), keys.quota(item.subscriber_id)], [item.email_id, item.purchased]


async def reserve(writer: PipelinedWriter, number: int, purchased: int = -1, deadline_s: float = 10.0) -> int:
    names, args = reservation(number, purchased)
    (reply,) = await writer.call(scripts.RESERVE, names, args, deadline_s=deadline_s)
    return int(reply)


async def test_each_of_many_callers_gets_his_own_answer(redis_url: str, raw: Client) -> None:
    client = connect(redis_url, timeout_s=5.0)
    async with PipelinedWriter(client) as writer:
        total = 2 * MAX_BATCH + 10
        answers = await asyncio.gather(*(reserve(writer, number, number % 2 - 1) for number in range(total)))
    assert answers == [1 if number % 2 == 0 else 0 for number in range(total)]
    assert await raw.scard(keys.reserved("who")) == (total + 1) // 2
    await client.aclose()


async def test_a_call_that_fails_fails_alone(redis_url: str, raw: Client) -> None:
    client = connect(redis_url, timeout_s=5.0)
    await raw.set(keys.reserved("wrong"), "a string")

    async def wrong(writer: PipelinedWriter) -> object:
        names = [keys.reserved("wrong"), keys.quota("wrong")]
        return await writer.call(scripts.RESERVE, names, ["mail", 1], deadline_s=10.0)

    async with PipelinedWriter(client) as writer:
        good, bad = await asyncio.gather(reserve(writer, 1), wrong(writer), return_exceptions=True)
    assert good == 1
    assert isinstance(bad, Backpressure)
    assert bad.cause is RedisCause.WRONGTYPE
    await client.aclose()


async def test_a_server_that_forgot_the_scripts_is_told_again(redis_url: str, raw: Client) -> None:
    client = connect(redis_url, timeout_s=5.0)
    async with PipelinedWriter(client) as writer:
        assert await reserve(writer, 1) == 1
        await raw.script_flush()
        assert await asyncio.gather(*(reserve(writer, number) for number in range(2, 30))) == [1] * 28
    assert await raw.scard(keys.reserved("who")) == 29
    await client.aclose()


async def test_a_call_that_was_not_sent_by_its_deadline_is_dropped(proxy: RedisProxy, raw: Client) -> None:
    client = connect(proxy.url, timeout_s=5.0)
    async with PipelinedWriter(client) as writer:
        await reserve(writer, 1)
        held = proxy.on(Fault.HOLD_REPLY, b"EVALSHA")
        first = asyncio.create_task(reserve(writer, 2))
        await held.hit()
        with pytest.raises(Backpressure) as caught:
            await reserve(writer, 3, deadline_s=0.05)
        assert caught.value.cause is RedisCause.TIMEOUT
        held.release()
        assert await first == 1
        assert await reserve(writer, 4) == 1
    assert await raw.smembers(keys.reserved("who")) == {b"mail-1", b"mail-2", b"mail-4"}
    await client.aclose()


async def test_a_caller_that_gave_up_leaves_the_others_their_answers(proxy: RedisProxy) -> None:
    client = connect(proxy.url, timeout_s=5.0)
    async with PipelinedWriter(client) as writer:
        await reserve(writer, 1)
        held = proxy.on(Fault.HOLD_REPLY, b"EVALSHA")
        impatient, patient = asyncio.create_task(reserve(writer, 2, 0)), asyncio.create_task(reserve(writer, 3))
        await held.hit()
        impatient.cancel()
        held.release()
        assert await patient == 1
    await client.aclose()


async def test_a_frozen_server_is_backpressure_within_the_deadline_and_works_on_later(
    fresh_server: ServerFactory,
) -> None:
    server = fresh_server()
    client = connect(server.url, timeout_s=30.0)
    async with PipelinedWriter(client) as writer:
        await reserve(writer, 1)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            answers = await asyncio.gather(
                *(reserve(writer, number, deadline_s=0.3) for number in range(2, 50)), return_exceptions=True
            )
            took_s = time.monotonic() - started
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert {type(answer) for answer in answers} == {Backpressure}
        assert took_s < 10.0  # by the deadline of the calls, not by the client's

        async def works() -> bool:
            try:
                return await reserve(writer, 100, 1, deadline_s=1.0) == 0  # nothing left: others are reserved
            except Backpressure:
                return False

        await eventually(works, "the writer to work again")
    await client.aclose()


async def test_a_writer_left_behind_by_its_server_ends_at_once(fresh_server: ServerFactory) -> None:
    server = fresh_server()
    client = connect(server.url, timeout_s=30.0)
    async with PipelinedWriter(client) as writer:
        await reserve(writer, 1)
        os.kill(server.pid, signal.SIGSTOP)
        with pytest.raises(Backpressure):
            await reserve(writer, 2, deadline_s=0.05)
        started = time.monotonic()
    assert time.monotonic() - started < 10.0
    os.kill(server.pid, signal.SIGCONT)
    await client.aclose()


async def test_a_server_that_is_away_is_told_as_such(tmp_path: object) -> None:
    client = connect(f"unix://{tmp_path}/nobody", timeout_s=1.0)
    async with PipelinedWriter(client) as writer:
        with pytest.raises(Backpressure) as caught:
            await reserve(writer, 1)
        assert caught.value.cause is RedisCause.DOWN
    await client.aclose()


async def test_a_refused_command_in_a_pipeline_quotes_nobodys_data(redis_url: str, raw: Client) -> None:
    await raw.set("stream", "a string")
    async with raw.pipeline(transaction=True) as pipe:
        pipe.execute_command("XADD", "stream", "*", "address", "ada@example.com")
        with pytest.raises(ResponseError) as caught:
            await pipe.execute()
    trouble = classify(caught.value)
    assert trouble
    assert "ada" not in str(trouble)
    assert trouble.cause is RedisCause.WRONGTYPE
