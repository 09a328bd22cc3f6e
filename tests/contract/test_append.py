"""append: one LeadReceived per lead id, whatever happens on the way."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ResponseError

from leadstream_events import keys, scripts
from leadstream_events.envelope import flat
from leadstream_events.errors import RedisCause
from leadstream_events.redis_client import Client, classify
from tests.support.entries import LEADS, lead_event

KEYS = keys.lead_keys(0)


async def append(client: Client, lead_id: str, fingerprint: str, deadline_ms: int = 0) -> tuple[int, bytes]:
    args: list[str | int] = [fingerprint, deadline_ms, lead_id, "-:key", *flat(lead_event(lead_id))]
    verdict, entry_id, _ = await scripts.run(client, scripts.APPEND, [LEADS, keys.ledger(0, lead_id), KEYS], args)
    return verdict, entry_id


async def now_ms(client: Client) -> int:
    seconds, micros = await client.time()
    return int(seconds * 1000 + micros // 1000)


async def test_the_first_append_stores_the_entry_and_its_place_in_one_step(client: Client) -> None:
    verdict, entry_id = await append(client, "lead-1", "print-1")
    assert verdict == 1
    assert [place for place, _ in await client.xrange(LEADS)] == [entry_id]
    assert await client.hget(keys.ledger(0, "lead-1"), "lead") == entry_id + b" print-1"
    assert await client.hgetall(KEYS) == {b"lead-1": b"-:key"}


async def test_an_erased_lead_is_refused_and_gets_no_key(client: Client) -> None:
    _, entry_id = await append(client, "lead-1", "print-1")
    await client.hset(keys.ledger(0, "lead-1"), "lead", f"{entry_id.decode()} erased")
    await client.hset(KEYS, "lead-1", "erased")
    assert await append(client, "lead-1", "print-1") == (-3, entry_id)
    assert (await client.xlen(LEADS), await client.hget(KEYS, "lead-1")) == (1, b"erased")


async def test_the_same_body_again_gets_the_first_answer_and_stores_nothing(client: Client) -> None:
    _, first = await append(client, "lead-1", "print-1")
    assert await append(client, "lead-1", "print-1") == (0, first)
    assert await client.xlen(LEADS) == 1


async def test_another_body_under_the_same_lead_id_is_refused(client: Client) -> None:
    _, first = await append(client, "lead-1", "print-1")
    assert await append(client, "lead-1", "print-2") == (-1, first)
    assert await client.xlen(LEADS) == 1
    assert await client.hget(keys.ledger(0, "lead-1"), "lead") == first + b" print-1"


async def test_of_many_concurrent_callers_exactly_one_appends(client: Client) -> None:
    replies = await asyncio.gather(*(append(client, "lead-1", "print-1") for _ in range(40)))
    assert sorted(reply[0] for reply in replies) == [0] * 39 + [1]
    assert len({reply[1] for reply in replies}) == 1
    assert await client.xlen(LEADS) == 1


async def test_a_server_that_forgot_its_scripts_is_told_again_and_appends_once(client: Client) -> None:
    await append(client, "lead-1", "print-1")
    await client.script_flush()
    assert (await append(client, "lead-1", "print-1"))[0] == 0
    assert await client.xlen(LEADS) == 1


@pytest.mark.parametrize("key", [LEADS, keys.ledger(0, "lead-1"), KEYS])
async def test_a_key_of_another_type_is_an_error_that_changes_nothing(client: Client, key: str) -> None:
    await client.set(key, "somebody else's")
    with pytest.raises(ResponseError) as caught:
        await append(client, "lead-1", "print-1")
    trouble = classify(caught.value)
    assert trouble
    assert trouble.cause is RedisCause.WRONGTYPE
    assert await client.keys("*") == [key.encode()]
    assert await client.get(key) == b"somebody else's"


async def test_a_full_server_refuses_the_append_whole(client: Client) -> None:
    await client.config_set("maxmemory", "1")
    with pytest.raises(ResponseError) as caught:
        await append(client, "lead-1", "print-1")
    await client.config_set("maxmemory", "0")
    trouble = classify(caught.value)
    assert trouble
    assert trouble.cause is RedisCause.OOM
    assert await client.keys("*") == []


async def test_an_append_that_comes_after_its_deadline_stores_nothing(client: Client) -> None:
    assert (await append(client, "lead-1", "print-1", await now_ms(client) - 1))[0] == -2
    assert await client.keys("*") == []
    assert (await append(client, "lead-1", "print-1", await now_ms(client) + 5_000))[0] == 1


async def test_a_repeated_body_gets_its_answer_even_after_the_deadline(client: Client) -> None:
    _, first = await append(client, "lead-1", "print-1")
    assert await append(client, "lead-1", "print-1", 1) == (0, first)


async def test_without_fields_only_the_time_is_told(client: Client) -> None:
    before = await now_ms(client)
    what, _, told_ms = await scripts.run(client, scripts.APPEND, [LEADS, keys.ledger(0, ""), KEYS], ["", 0])
    assert what == 2
    assert before <= told_ms <= await now_ms(client)
    assert await client.keys("*") == []
