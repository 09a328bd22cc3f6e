"""Questions that are asked side by side share a round trip, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import RedisError, ResponseError

from leadstream_events.errors import RedisCause
from leadstream_events.redis_client import Client, classify, connect
from leadstream_events.redis_joint import joint
from tests.integration.test_lean_redis import said
from tests.support.redis_proxy import Fault, RedisProxy


@pytest.fixture
async def client(redis_url: str, raw: Client) -> AsyncIterator[Client]:
    made = connect(redis_url, timeout_s=5.0)
    yield made
    await made.aclose()


async def reads(raw: Client) -> int:
    """How often the server has read from a connection, this question included."""
    return int((await raw.info("stats"))["total_reads_processed"])


async def test_every_reply_is_the_one_that_the_client_gives(client: Client) -> None:
    assert await said(joint(client)) == await said(client)


async def test_what_is_asked_side_by_side_reaches_the_server_at_once(client: Client, raw: Client) -> None:
    asking = joint(client)
    await raw.mset({"a": "1", "b": "2"})
    await asking.ping()

    async def both() -> list[bytes]:
        async with asking.pipeline(transaction=False) as pipe:
            return list(await pipe.get("a").get("b").execute())

    before = await reads(raw)
    assert list(await asyncio.gather(asking.get("a"), both(), asking.get("b"))) == [b"1", [b"1", b"2"], b"2"]
    assert await reads(raw) - before == 2  # one, and the question how many


async def test_an_error_is_told_to_whoever_asked_for_it(client: Client) -> None:
    asking = joint(client)
    await asking.set("a", "text")

    async def wrong() -> None:
        async with asking.pipeline(transaction=False) as pipe:
            await pipe.get("a").hgetall("a").execute()

    asked = asking.get("a"), asking.hgetall("a"), wrong(), asking.get("a")
    first, alone, in_pipeline, last = await asyncio.gather(*asked, return_exceptions=True)
    assert (first, last) == (b"text", b"text")
    assert isinstance(alone, ResponseError) and isinstance(in_pipeline, ResponseError)


async def test_a_broken_connection_is_told_to_all_who_asked(redis_url: str, raw: Client) -> None:
    async with RedisProxy(redis_url) as proxy:
        client = connect(proxy.url, timeout_s=5.0)
        asking = joint(client)
        await asking.ping()
        proxy.on(Fault.CUT_REPLY, b"first")
        ends = await asyncio.gather(asking.get("first"), asking.get("second"), return_exceptions=True)
        causes = [classify(end) for end in ends if isinstance(end, RedisError | OSError)]
        assert [cause and cause.cause for cause in causes] == [RedisCause.DOWN] * 2
        assert await asking.get("second") is None
        await client.aclose()


async def test_whoever_stops_waiting_takes_nothing_from_the_others(redis_url: str, raw: Client) -> None:
    async with RedisProxy(redis_url) as proxy:
        client = connect(proxy.url, timeout_s=5.0)
        asking = joint(client)
        await raw.mset({"first": "1", "second": "2"})
        await asking.ping()
        rule = proxy.on(Fault.HOLD_REPLY, b"first")
        leaving, staying = asyncio.ensure_future(asking.get("first")), asyncio.ensure_future(asking.get("second"))
        await rule.hit()
        leaving.cancel()
        rule.release()
        assert await staying == b"2"
        assert leaving.cancelled()
        await client.aclose()
