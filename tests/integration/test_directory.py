"""The directory: knows every change that was stored before it was asked."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from leadstream_events import keys
from leadstream_events.directory import Directory, Snapshot, apply
from leadstream_events.envelope import encode, make_event
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import SubscriberChanged
from leadstream_events.schemas.subscriber import SubscriberDraft, SubscriberPatch, Suppression
from leadstream_events.subscribers import SubscriberStore
from tests.support.entries import now


async def test_every_kind_of_change_is_seen_by_the_next_refresh(raw: Client) -> None:
    store, directory = SubscriberStore(raw), Directory(raw)
    assert (await directory.refresh()).subscribers == {}
    added = await store.add(SubscriberDraft(email="ada@example.com", name="Ada"), now())
    assert (await directory.refresh()).subscribers == {added.id: added}
    changed = await store.change(added.id, SubscriberPatch(active=False), now())
    assert (await directory.refresh()).subscribers == {added.id: changed}
    at = now()
    item = Suppression(address="Bob@example.com", created_at=at, expires_at=at + timedelta(hours=1))
    await store.suppress(item, at)
    snapshot = await directory.refresh()
    assert snapshot.suppressed("bob@EXAMPLE.com", at) == item
    assert snapshot.suppressed("bob@example.com", at + timedelta(hours=1)) is None
    assert snapshot.suppressed("ada@example.com", at) is None
    await store.release("bob@example.com", "me", at)
    assert (await directory.refresh()).suppressed("bob@example.com", at) is None
    await store.remove(added.id, now())
    assert (await directory.refresh()).subscribers == {}


async def test_many_pages_of_changes_are_folded_in_one_refresh(raw: Client) -> None:
    store, directory = SubscriberStore(raw), Directory(raw)
    added = await store.add(SubscriberDraft(email="ada@example.com", name="Ada"), now())
    await directory.refresh()
    async with raw.pipeline(transaction=False) as pipe:
        for number in range(2_501):
            state = added.model_copy(update={"leads_purchased": number})
            fields = encode(make_event(SubscriberChanged(subscriber=state), subject=added.id, now=now()))
            pipe.xadd(keys.SUBSCRIBER_EVENTS, fields)
        await pipe.execute()
    snapshot = await directory.refresh()
    assert snapshot.subscribers[added.id].leads_purchased == 2_500
    last = await raw.xrevrange(keys.SUBSCRIBER_EVENTS, count=1)
    assert snapshot.position == last[0][0].decode()


async def test_a_directory_that_starts_late_equals_one_that_followed(raw: Client) -> None:
    store, early = SubscriberStore(raw), Directory(raw)
    await early.refresh()
    for number in range(20):
        added = await store.add(SubscriberDraft(email=f"s{number}@example.com", name="S"), now())
        if number % 3 == 0:
            await store.remove(added.id, now())
        elif number % 3 == 1:
            await store.change(added.id, SubscriberPatch(states=("CA",)), now())
    late = Directory(raw)
    assert await late.refresh() == await early.refresh()


async def test_concurrent_refreshes_agree(raw: Client) -> None:
    store, directory = SubscriberStore(raw), Directory(raw)
    await store.add(SubscriberDraft(email="ada@example.com", name="Ada"), now())
    snapshots = await asyncio.gather(*(directory.refresh() for _ in range(10)))
    assert all(snapshot == snapshots[0] for snapshot in snapshots)
    assert len(snapshots[0].subscribers) == 1


async def test_an_event_that_cannot_be_read_is_passed_over(raw: Client) -> None:
    store, directory = SubscriberStore(raw), Directory(raw)
    await directory.refresh()
    await raw.xadd(keys.SUBSCRIBER_EVENTS, {b"\xff": b"\xfe"})
    added = await store.add(SubscriberDraft(email="ada@example.com", name="Ada"), now())
    assert set((await directory.refresh()).subscribers) == {added.id}


async def test_what_redis_lost_is_gone_after_forget(raw: Client) -> None:
    store, directory = SubscriberStore(raw), Directory(raw)
    await store.add(SubscriberDraft(email="ada@example.com", name="Ada"), now())
    await directory.refresh()
    await raw.flushall()
    directory.forget()
    assert await directory.refresh() == Snapshot()


def test_folding_nothing_keeps_the_position() -> None:
    assert apply(Snapshot(position="5-1"), []) == Snapshot(position="5-1")
