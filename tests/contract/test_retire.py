"""retire: a consumer leaves its group only when it owns nothing."""

from __future__ import annotations

from leadstream_events import scripts
from leadstream_events.redis_client import Client
from tests.support.entries import LEADS, pending

GROUP = "group"


async def retire(client: Client) -> int:
    reply: int = await scripts.run(client, scripts.RETIRE, [LEADS], [GROUP, "me"])
    return reply


async def names(client: Client) -> list[bytes]:
    return [item["name"] for item in await client.xinfo_consumers(LEADS, GROUP)]


async def test_a_consumer_with_pending_entries_is_kept_with_them(client: Client) -> None:
    entry = (await client.xadd(LEADS, {"n": 1})).decode()
    await client.xgroup_create(LEADS, GROUP, "0")
    await client.xreadgroup(GROUP, "me", {LEADS: ">"})
    assert await retire(client) == 0
    assert await pending(client, LEADS, GROUP) == {entry: ("me", 1)}
    await client.xack(LEADS, GROUP, entry)
    assert await retire(client) == 1
    assert await names(client) == []


async def test_other_consumers_and_their_entries_stay(client: Client) -> None:
    entry = (await client.xadd(LEADS, {"n": 1})).decode()
    await client.xgroup_create(LEADS, GROUP, "0")
    await client.xreadgroup(GROUP, "other", {LEADS: ">"})
    await client.xgroup_createconsumer(LEADS, GROUP, "me")
    assert await retire(client) == 1
    assert await names(client) == [b"other"]
    assert await pending(client, LEADS, GROUP) == {entry: ("other", 1)}


async def test_a_consumer_that_never_was_can_be_retired_too(client: Client) -> None:
    await client.xgroup_create(LEADS, GROUP, "0", mkstream=True)
    assert await retire(client) == 1
