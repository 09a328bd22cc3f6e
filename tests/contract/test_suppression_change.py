"""suppression_change: decided upon what is there, or not done at all."""

from __future__ import annotations

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.redis_client import Client

KEYS = [keys.SUPPRESSIONS, keys.SUBSCRIBER_EVENTS]


async def test_it_changes_what_was_decided_upon_and_tells_every_event(client: Client) -> None:
    arguments: list[Argument] = ["a@example.org", "", "first", 2, "n", "1", "n", "2"]
    assert await scripts.run(client, scripts.SUPPRESSION_CHANGE, KEYS, arguments) == 1
    assert await client.hgetall(keys.SUPPRESSIONS) == {b"a@example.org": b"first"}
    assert [fields for _, fields in await client.xrange(keys.SUBSCRIBER_EVENTS)] == [{b"n": b"1"}, {b"n": b"2"}]


async def test_it_does_nothing_when_somebody_was_faster(client: Client) -> None:
    await client.hset(keys.SUPPRESSIONS, "a@example.org", "theirs")
    for before in ("", "other"):
        arguments: list[Argument] = ["a@example.org", before, "mine", 2, "n", "1"]
        assert await scripts.run(client, scripts.SUPPRESSION_CHANGE, KEYS, arguments) == 0
    assert await client.hget(keys.SUPPRESSIONS, "a@example.org") == b"theirs"
    assert not await client.exists(keys.SUBSCRIBER_EVENTS)


async def test_it_lifts(client: Client) -> None:
    await client.hset(keys.SUPPRESSIONS, "a@example.org", "theirs")
    assert await scripts.run(client, scripts.SUPPRESSION_CHANGE, KEYS, ["a@example.org", "theirs", "", 2, "n", "1"])
    assert not await client.exists(keys.SUPPRESSIONS)
    assert await client.xlen(keys.SUBSCRIBER_EVENTS) == 1
