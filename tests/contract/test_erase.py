"""erase, rewrap and the erased lead in merge and begin: a destroyed key never comes back."""

from __future__ import annotations

from leadstream_events import keys, scripts
from leadstream_events.envelope import flat, make_event
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import LeadErased
from tests.support.entries import DEAD, EMAILS, LEADS, OUTCOMES, lead_event, now

LEDGER, KEYS = keys.ledger(0, "lead-1"), keys.lead_keys(0)
MERGE = [LEADS, LEDGER, EMAILS, OUTCOMES, DEAD, KEYS]


async def append(client: Client) -> bytes:
    args: list[str | int] = ["print", 0, "lead-1", "-:key", *flat(lead_event("lead-1"))]
    _, entry_id, _ = await scripts.run(client, scripts.APPEND, [LEADS, LEDGER, KEYS], args)
    return bytes(entry_id)


async def erase(client: Client) -> list[object]:
    event = make_event(LeadErased(by="tests"), subject="lead-1", now=now())
    reply: list[object] = await scripts.run(client, scripts.ERASE, [LEADS, LEDGER, KEYS], ["lead-1", *flat(event)])
    return reply


async def merge(client: Client, fingerprint: str, key: str) -> int:
    lead = flat(lead_event("lead-1"))
    dead = flat(lead_event("lead-1"))
    args: list[str | int] = [fingerprint, "merge-1", "lead:t", "mail:t", "lead-1", key, len(lead), *lead]
    reply = await scripts.run(client, scripts.MERGE, MERGE, [*args, len(dead), *dead])
    return int(reply[0])


async def test_the_key_goes_the_fingerprint_goes_and_it_is_told_once(client: Client) -> None:
    entry_id = await append(client)
    assert await erase(client) == [1, entry_id]
    assert await erase(client) == [0, entry_id]
    assert await client.hgetall(KEYS) == {b"lead-1": b"erased"}
    assert await client.hget(LEDGER, "lead") == entry_id + b" erased"
    assert [fields[b"type"] for _, fields in await client.xrange(LEADS)] == [b"LeadReceived", b"LeadErased"]


async def test_a_lead_that_was_never_stored_leaves_nothing_behind(client: Client) -> None:
    assert await erase(client) == [-1, b""]
    assert await client.keys("*") == []


async def test_an_archived_lead_whose_ledger_is_gone_is_erased_and_known_to_be(client: Client) -> None:
    await append(client)
    await client.delete(LEDGER, LEADS)
    assert await erase(client) == [1, b""]
    assert await erase(client) == [0, b""]
    assert await client.xlen(LEADS) == 1


async def test_a_spool_that_merges_an_erased_lead_brings_no_key_and_no_letter(client: Client) -> None:
    entry_id = await append(client)
    await erase(client)
    assert await merge(client, "another body", "-:other") == 0
    assert await merge(client, "another body", "-:other") == 2
    assert (await client.hgetall(KEYS), await client.xlen(DEAD)) == ({b"lead-1": b"erased"}, 0)
    assert await client.hget(LEDGER, "lead") == entry_id + b" erased merge-1"
    # Forgotten meanwhile, with its ledger: it is stored once more, sealed for ever.
    await client.delete(LEDGER)
    assert await merge(client, "print", "-:other") == 1
    assert await client.hgetall(KEYS) == {b"lead-1": b"erased"}
    assert (await client.hget(LEDGER, "lead")).split()[1:] == [b"erased", b"merge-1"]


async def test_a_second_body_keeps_its_key_beside_the_first(client: Client) -> None:
    await append(client)
    assert await merge(client, "another body", "-:other") == -1
    assert await client.hgetall(KEYS) == {b"lead-1": b"-:key -:other"}
    assert await client.xlen(DEAD) == 1


async def test_begin_says_of_each_mail_whose_lead_was_erased(client: Client) -> None:
    await append(client)
    args: list[str | int] = ["owner", 4, 60_000, 1, "mail-1", "1-1", 0]
    ((verdict, *_),) = await scripts.run(client, scripts.BEGIN, [LEDGER], args)
    assert verdict == b"go"
    await erase(client)
    await client.hdel(LEDGER, "mail-1")
    ((verdict, *_),) = await scripts.run(client, scripts.BEGIN, [LEDGER], args)
    assert verdict == b"erased"


async def test_rewrap_stores_only_over_what_was_read(client: Client) -> None:
    await client.hset(KEYS, mapping={"a": "old", "b": "erased"})
    assert await scripts.run(client, scripts.REWRAP, [KEYS], ["a", "old", "new", "b", "old", "new"]) == 1
    assert await client.hgetall(KEYS) == {b"a": b"new", b"b": b"erased"}


async def test_forgetting_an_event_leaves_not_even_its_bytes(client: Client) -> None:
    events, copy = keys.SUBSCRIBER_EVENTS, keys.SUBSCRIBER_EVENTS_COPY
    ids = [await client.xadd(events, {"n": f"secret-{number}"}) for number in range(5)]
    last = await client.xadd(events, {"n": "last"})
    await client.xdel(events, last)
    assert await scripts.run(client, scripts.EVENTS_FORGET, [events, copy], [ids[1], ids[3], "1-1"]) == 2
    assert [entry_id for entry_id, _ in await client.xrange(events)] == [ids[0], ids[2], ids[4]]
    dump = await client.dump(events)
    assert (b"secret-1" in dump, b"secret-3" in dump, b"secret-0" in dump) == (False, False, True)
    assert (await client.xinfo_stream(events))["last-generated-id"] == last
    assert await client.exists(copy) == 0
