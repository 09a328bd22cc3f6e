"""take: in no span does a limit hand out more than its count, and its waits are true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import pairwise

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadstream_events import scripts
from leadstream_events.ids import new_id
from leadstream_events.redis_client import Client
from tests.support.redis_server import RedisServer

GLOBAL, DOMAIN = "leadstream:{limits}:window:*", "leadstream:{limits}:window:example.org"


async def take(client: Client, limits: Sequence[tuple[str, int, int]], mails: Sequence[str]) -> list[tuple[int, int]]:
    """`limits`: key, count, span in ms; `mails`: the numbers of their limits. Returns (wait in ms, limit) pairs."""
    args: list[str | int] = [new_id(), len(limits)]
    for _, count, span_ms in limits:
        args += (count, span_ms)
    reply = await scripts.run(client, scripts.TAKE, [key for key, _, _ in limits], [*args, *mails])
    return list(zip(reply[::2], reply[1::2], strict=True))


async def test_a_limit_grants_its_count_and_then_says_how_long_to_wait(client: Client) -> None:
    replies = await take(client, [(GLOBAL, 3, 60_000)], ["1"] * 5)
    assert replies[:3] == [(0, 0)] * 3
    assert all(59_000 < wait_ms <= 60_000 and limit == 1 for wait_ms, limit in replies[3:])
    assert await client.zcard(GLOBAL) == 3
    assert 60_000 < await client.pttl(GLOBAL) <= 61_000


async def test_asking_again_after_exactly_the_wait_succeeds_and_never_before(client: Client) -> None:
    limits = [(GLOBAL, 2, 300)]
    _, _, (wait_ms, _) = await take(client, limits, ["1"] * 3)
    assert wait_ms > 0
    asked = 0
    deadline = time.monotonic() + wait_ms / 1000
    while wait_ms > 0:
        await asyncio.sleep(wait_ms / 1000)  # the wait itself is what is tested
        ((wait_ms, _),) = await take(client, limits, ["1"])
        asked += 1
    assert asked == 1
    assert time.monotonic() >= deadline


async def test_a_lowered_limit_waits_until_enough_of_the_old_tokens_are_gone(client: Client) -> None:
    await take(client, [(GLOBAL, 5, 400)], ["1"] * 5)
    ((wait_ms, _),) = await take(client, [(GLOBAL, 2, 400)], ["1"])
    await asyncio.sleep(wait_ms / 1000)  # the wait itself is what is tested
    assert await take(client, [(GLOBAL, 2, 400)], ["1"]) == [(0, 0)]


async def test_a_domain_at_its_limit_takes_nothing_from_the_global_one(client: Client) -> None:
    limits = [(GLOBAL, 10, 60_000), (DOMAIN, 1, 60_000)]
    replies = await take(client, limits, ["1,2", "1,2", "1", "1,2"])
    assert [wait_ms > 0 for wait_ms, _ in replies] == [False, True, False, True]
    assert [limit for _, limit in replies] == [0, 2, 0, 2]
    assert await client.zcard(GLOBAL) == 2
    assert await client.zcard(DOMAIN) == 1


async def test_the_longer_of_two_waits_is_told_with_its_limit(client: Client) -> None:
    limits = [(GLOBAL, 1, 60_000), (DOMAIN, 1, 5_000)]
    await take(client, limits, ["1,2"])
    ((wait_ms, limit),) = await take(client, limits, ["1,2"])
    assert limit == 1
    assert wait_ms > 50_000


async def test_tokens_are_named_by_request_and_mail_so_that_they_can_be_given_back(client: Client) -> None:
    args: list[str | int] = ["request", 1, 5, 60_000, "1", "1", "1"]
    await scripts.run(client, scripts.TAKE, [GLOBAL], args)
    assert sorted(await client.zrange(GLOBAL, 0, -1)) == [b"request:0", b"request:1", b"request:2"]


async def test_tokens_are_scored_by_the_servers_clock(client: Client) -> None:
    before = await client.time()
    await take(client, [(GLOBAL, 1, 60_000)], ["1"])
    after = await client.time()
    ((_, score),) = await client.zrange(GLOBAL, 0, -1, withscores=True)
    assert before[0] * 1000 + before[1] // 1000 <= score <= after[0] * 1000 + after[1] // 1000


async def test_many_workers_at_once_never_get_more_than_the_count_in_any_span(client: Client) -> None:
    count, span_ms, granted = 7, 120, 0
    names: dict[bytes, float] = {}

    async def worker() -> None:
        nonlocal granted
        while granted < 8 * count:
            async with client.pipeline(transaction=True) as pipe:  # or the next one's take drops what this one got
                pipe.eval(scripts.TAKE.text, 1, GLOBAL, new_id(), 1, count, span_ms, *["1"] * 3)
                pipe.zrange(GLOBAL, 0, -1, withscores=True)
                replies, now_there = await pipe.execute()
            granted += replies[::2].count(0)
            names.update(now_there)
            await asyncio.sleep(min(replies[::2]) / 1000)

    await asyncio.gather(*(worker() for _ in range(8)))
    starts = sorted(names.values())
    assert len(starts) == granted
    assert all(later - starts[at] >= span_ms for at, later in enumerate(starts[count:]))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 6),
    span_ms=st.integers(1, 40),
    requests=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 15)), min_size=1, max_size=12),
)
def test_no_sequence_of_requests_gets_more_than_the_count_in_a_span(
    redis_server: RedisServer, count: int, span_ms: int, requests: list[tuple[int, int]]
) -> None:
    key = GLOBAL + new_id()
    starts: dict[bytes, float] = {}
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        for mails, pause_ms in requests:
            client.eval(scripts.TAKE.text, 1, key, new_id(), 1, count, span_ms, *["1"] * mails)
            starts.update(client.zrange(key, 0, -1, withscores=True))
            time.sleep(pause_ms / 1000)  # requests at moments of Hypothesis's choosing
        client.delete(key)
    ordered = sorted(starts.values())
    windows = zip(ordered, ordered[count:], strict=False)
    assert all(later - earlier >= span_ms for earlier, later in windows)
    assert all(earlier <= later for earlier, later in pairwise(ordered))
