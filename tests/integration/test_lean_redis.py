"""The short way to Redis answers as redis-py does, and gives up as it does when the connection breaks."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from leadstream_events.errors import RedisCause
from leadstream_events.redis_client import Client, classify, connect
from tests.support.redis_proxy import Fault, RedisProxy
from tests.support.redis_server import ServerFactory

MiB = 1 << 20


@pytest.fixture
async def client(redis_url: str, raw: Client) -> AsyncIterator[Client]:
    made = connect(redis_url, timeout_s=5.0)
    yield made
    await made.aclose()


@pytest.fixture
async def plain(redis_url: str) -> AsyncIterator[Client]:
    made = Redis.from_url(redis_url, protocol=2)
    yield made
    await made.aclose()


async def said(client: Client) -> list[object]:
    """What the client says of commands of every shape, errors among them."""
    await client.delete("a", "b", "s")
    await client.set("a", b"\x00\xff")
    await client.xadd("s", {"f": "v"}, id="1-1")
    async with client.pipeline(transaction=False) as pipe:
        pipe.get("a")
        pipe.get("missing")
        pipe.hgetall("a")
        pipe.xrange("s")
        pipe.hset("b", mapping={"x": 1, "y": 2.5})
        pipe.execute_command("CONFIG GET", "maxmemory")
        replies: list[object] = list(await pipe.execute(raise_on_error=False))
    async with client.pipeline(transaction=True) as pipe:
        pipe.incr("n")
        pipe.delete("n")
        replies.append(await pipe.execute())
    with pytest.raises(ResponseError) as wrong:
        await client.hgetall("a")
    async with client.pipeline(transaction=False) as pipe:
        pipe.get("a").hgetall("a")
        with pytest.raises(ResponseError) as second:
            await pipe.execute()
    replies += [await client.hgetall("b"), await client.xinfo_stream("s"), wrong.value, second.value]
    return [f"{type(each).__name__} {each}" for each in replies]


async def test_every_reply_is_the_one_that_redis_py_gives(client: Client, plain: Client) -> None:
    assert await said(client) == await said(plain)


async def test_an_error_among_many_replies_leaves_the_connection_in_step(client: Client) -> None:
    await client.set("a", "text")
    for number in range(3):
        async with client.pipeline(transaction=False) as pipe:
            pipe.hgetall("a").set("n", number).get("n")
            error, _, value = await pipe.execute(raise_on_error=False)
        assert (type(error), value) == (ResponseError, str(number).encode())
    assert len(client.connection_pool._available_connections) == 1


async def test_commands_and_replies_larger_than_any_buffer_pass(client: Client) -> None:
    values = [bytes([65 + number]) * (8 * MiB) for number in range(3)]
    async with client.pipeline(transaction=False) as pipe:
        for number, value in enumerate(values):
            pipe.set(f"large-{number}", value)
        await pipe.execute()
    assert await asyncio.gather(*(client.get(f"large-{number}") for number in range(3))) == values


async def test_a_connection_that_the_server_closed_is_opened_again(client: Client, raw: Client) -> None:
    await client.ping()
    await raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert await client.ping()


async def test_a_server_that_takes_no_more_bytes_is_given_up_at_the_deadline(fresh_server: ServerFactory) -> None:
    """Frozen, its buffers fill; every command is bounded all the same, and works again after."""
    server = fresh_server()
    client = connect(server.url, timeout_s=1.0)
    await client.ping()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            with pytest.raises((RedisError, OSError)) as late:
                await client.set("large", b"x" * (8 * MiB))
            assert (cause := classify(late.value)) and cause.cause is RedisCause.TIMEOUT
    finally:
        os.kill(server.pid, signal.SIGCONT)
    await client.aclose()
    again = connect(server.url, timeout_s=5.0)
    assert await again.ping()
    await again.aclose()


async def test_a_reply_that_comes_too_late_is_never_taken_for_the_next(redis_url: str, raw: Client) -> None:
    async with RedisProxy(redis_url) as proxy:
        client = connect(proxy.url, timeout_s=2.0)
        await raw.mset({"first": "1", "second": "2"})
        await client.ping()
        rule = proxy.on(Fault.HOLD_REPLY, b"first")
        with pytest.raises(RedisError):
            await client.get("first")
        rule.release()
        assert await client.get("second") == b"2"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                proxy.on(Fault.DROP_REPLY, b"first")
                await client.get("first")
        assert await client.get("second") == b"2"
        await client.aclose()
