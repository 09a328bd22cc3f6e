"""Subscribers and suppressions: every change is an event and a state, and an address belongs to one."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from leadstream_events import keys
from leadstream_events.errors import Conflict, NotFound
from leadstream_events.log import read_entry
from leadstream_events.redis_client import Client
from leadstream_events.schemas.subscriber import Subscriber, SubscriberDraft, SubscriberPatch, Suppression
from leadstream_events.subscribers import SubscriberStore, Usage
from tests.support.entries import now


def draft(email: str = "ada@example.com", **fields: object) -> SubscriberDraft:
    return SubscriberDraft.model_validate({"email": email, "name": "Ada"} | fields)


def store_on(client: Client) -> SubscriberStore:
    return SubscriberStore(client)


async def events(client: Client) -> list[str]:
    found = [read_entry(keys.SUBSCRIBER_EVENTS, *entry).event for entry in await client.xrange(keys.SUBSCRIBER_EVENTS)]
    return [event.type for event in found if event]


async def addresses(client: Client) -> dict[str, str]:
    stored = await client.hgetall(keys.SUBSCRIBER_EMAILS)
    return {name.decode(): value.decode() for name, value in stored.items()}


async def test_an_added_subscriber_is_found_by_id_and_by_address_in_any_case(raw: Client) -> None:
    store = store_on(raw)
    added = await store.add(draft("Ada@Example.com"), now())
    assert await store.get(added.id) == added
    for spelling in ("ada@example.com", "ADA@EXAMPLE.COM", "Ada@Example.com"):
        assert await store.by_address(spelling) == added
    assert await store.by_address("bob@example.com") is None
    assert await store.all() == [added]
    assert await events(raw) == ["SubscriberAdded"]


async def test_an_address_belongs_to_one_subscriber_in_any_case(raw: Client) -> None:
    store = store_on(raw)
    await store.add(draft("ada@example.com"), now())
    other = await store.add(draft("bob@example.com"), now())
    with pytest.raises(Conflict, match="email"):
        await store.add(draft("ADA@EXAMPLE.COM"), now())
    with pytest.raises(Conflict, match="email"):
        await store.change(other.id, SubscriberPatch(email="Ada@Example.Com"), now())
    assert await events(raw) == ["SubscriberAdded"] * 2
    assert (await store.get(other.id)).email == "bob@example.com"


async def test_of_many_that_add_one_address_at_once_one_succeeds(raw: Client) -> None:
    store = store_on(raw)
    done = await asyncio.gather(*(store.add(draft(), now()) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(item, Subscriber) for item in done) == 1
    assert sum(isinstance(item, Conflict) for item in done) == 19
    assert await raw.hlen(keys.SUBSCRIBER_STATE) == 1


async def test_a_patch_changes_what_it_names_and_nothing_else(raw: Client) -> None:
    store = store_on(raw)
    added = await store.add(draft(states=["TX", "CA"], leads_purchased=5), now())
    changed = await store.change(added.id, SubscriberPatch(active=False), now())
    assert changed == added.model_copy(update={"active": False})
    assert (await store.change(added.id, SubscriberPatch(leads_purchased=None), now())).leads_purchased is None
    assert (await store.change(added.id, SubscriberPatch(name=None), now())).name == "Ada"
    assert await store.get(added.id) == changed.model_copy(update={"leads_purchased": None})
    assert await events(raw) == ["SubscriberAdded"] + ["SubscriberChanged"] * 3


async def test_a_changed_address_frees_the_old_one(raw: Client) -> None:
    store = store_on(raw)
    added = await store.add(draft("old@example.com"), now())
    await store.change(added.id, SubscriberPatch(email="new@example.com"), now())
    assert await addresses(raw) == {"new@example.com": added.id}
    await store.add(draft("old@example.com"), now())


async def test_the_case_of_ones_own_address_can_be_changed(raw: Client) -> None:
    store = store_on(raw)
    added = await store.add(draft("ada@example.com"), now())
    await store.change(added.id, SubscriberPatch(email="Ada@example.com"), now())
    assert await addresses(raw) == {"ada@example.com": added.id}


async def test_concurrent_patches_of_different_fields_are_both_kept(raw: Client) -> None:
    store = store_on(raw)
    added = await store.add(draft(), now())
    await asyncio.gather(
        store.change(added.id, SubscriberPatch(name="Grace"), now()),
        store.change(added.id, SubscriberPatch(leads_purchased=7), now()),
        store.change(added.id, SubscriberPatch(active=False), now()),
    )
    after = await store.get(added.id)
    assert (after.name, after.leads_purchased, after.active) == ("Grace", 7, False)


async def test_a_subscriber_that_older_code_wrote_can_be_changed_and_removed(raw: Client) -> None:
    store = store_on(raw)
    first, second = await store.add(draft("a@example.com"), now()), await store.add(draft("b@example.com"), now())
    for item in (first, second):  # without the fields that came later, and in another order
        old = {"created_at": item.created_at.isoformat(), "id": item.id, "name": item.name, "email": item.email}
        await raw.hset(keys.SUBSCRIBER_STATE, item.id, json.dumps(old))
    assert (await store.change(first.id, SubscriberPatch(active=False), now())).active is False
    await store.remove(second.id, now())
    assert [item.id for item in await store.all()] == [first.id]


async def test_a_removed_subscriber_is_gone_and_his_address_free(raw: Client) -> None:
    store = store_on(raw)
    added = await store.add(draft(), now())
    await store.remove(added.id, now())
    assert await addresses(raw) == {}
    for attempt in (store.get(added.id), store.remove(added.id, now())):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(NotFound):
        await store.change(added.id, SubscriberPatch(active=False), now())
    assert await events(raw) == ["SubscriberAdded", "SubscriberRemoved"]


async def test_removing_and_readdressing_at_once_leaves_no_address_taken_by_nobody(raw: Client) -> None:
    store = store_on(raw)
    for number in range(20):
        added = await store.add(draft(f"old{number}@example.com"), now())
        await asyncio.gather(
            store.change(added.id, SubscriberPatch(email=f"new{number}@example.com"), now()),
            store.remove(added.id, now()),
            return_exceptions=True,
        )
    living = {item.id for item in await store.all()}
    assert set((await addresses(raw)).values()) == living


async def test_usage_counts_what_was_sent_and_what_is_reserved(raw: Client) -> None:
    await raw.hset(keys.quota("a"), mapping={"sent": 3, "last_sent": "2026-01-02T03:04:05.000Z"})
    await raw.sadd(keys.reserved("a"), "m1", "m2")
    usage = await store_on(raw).usage(["a", "b"])
    assert (usage["a"].sent, usage["a"].reserved, str(usage["a"].last_sent)) == (3, 2, "2026-01-02 03:04:05+00:00")
    assert usage["b"] == Usage()


async def test_a_suppression_holds_until_it_is_lifted_or_runs_out(raw: Client) -> None:
    store = store_on(raw)
    at = now()
    item = Suppression(address="Ada@Example.com", reason="bounce", created_at=at, expires_at=at + timedelta(hours=1))
    await store.suppress(item, at)
    assert await store.suppressions() == [item]
    assert item.holds(at)
    assert not item.holds(at + timedelta(hours=1))
    await store.release("ADA@example.com", "operator", at)
    assert await store.suppressions() == []
    with pytest.raises(NotFound):
        await store.release("ada@example.com", "operator", at)
    assert await events(raw) == ["RecipientSuppressed", "RecipientReleased"]
