"""The fan-out service in this process: who gets a mail, how often, and what it costs him."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from leadstream_events import keys
from leadstream_events.effects import Settlement, commit_call
from leadstream_events.envelope import encode, make_event
from leadstream_events.ids import email_id, new_id
from leadstream_events.log import read_entry
from leadstream_events.redis_client import Client
from leadstream_events.runtime import committer
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.schemas.events import EmailRequested, EmailSent, EmailSkipped, Kind
from leadstream_events.schemas.subscriber import Subscriber, SubscriberDraft
from leadstream_events.settings import Settings
from leadstream_events.subscribers import SubscriberStore
from leadstream_events.tasks import end
from leadstream_mailer.fanout import build
from tests.support.entries import EMAILS, LEADS, OUTCOMES, add_lead, now, pending
from tests.support.waiting import DEADLINE_S, eventually


async def add(client: Client, name: str, **fields: Any) -> Subscriber:
    draft = SubscriberDraft(email=f"{name}@example.com", name=name, **fields)
    return await SubscriberStore(client).add(draft, now())


@asynccontextmanager
async def fanout(settings: Settings, workers: int = 1) -> AsyncIterator[list[Consumer]]:
    """Runs that many fan-out services at once until the block ends."""
    async with AsyncExitStack() as stack:
        made = [item for _ in range(workers) for item in await build(stack, settings)]
        tasks = [asyncio.create_task(item.run()) for item in made]
        try:
            yield made
            for item in made:
                item.stop()
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.gather(*tasks)
        finally:
            await end(*tasks)


async def caught_up(client: Client, stream: str = LEADS, group: str = keys.FANOUT) -> None:
    async def done() -> bool:
        for info in await client.xinfo_groups(stream) if await client.exists(stream) else []:
            if info["name"] == group.encode():
                last = await client.xrevrange(stream, count=1)
                read = not last or info["last-delivered-id"] == last[0][0]
                return read and not await pending(client, stream, group)
        return False

    await eventually(done, f"{group} to catch up")


async def requested(client: Client) -> list[EmailRequested]:
    entries = [read_entry(EMAILS, *entry).event for entry in await client.xrange(EMAILS)]
    return [event.data for event in entries if event and isinstance(event.data, EmailRequested)]


async def recipients(client: Client) -> Counter[str]:
    return Counter(mail.to for mail in await requested(client))


async def settle_all(client: Client, sent: bool = True) -> None:
    """Plays the mailer: an outcome for every request."""
    for mail in await requested(client):
        base = {"email_id": mail.email_id, "kind": mail.kind, "subscriber_id": mail.subscriber_id}
        data = (
            EmailSent(**base, attempt=1, code=250, reply="ok", message_id="<a@b>")
            if sent
            else EmailSkipped(**base, reason="suppressed")
        )
        await client.xadd(OUTCOMES, encode(make_event(data, subject="lead", now=now())))


async def test_a_lead_asks_for_one_mail_per_matching_subscriber_and_one_for_the_visitor(
    settings: Settings, raw: Client
) -> None:
    await add(raw, "everywhere")
    await add(raw, "california", states=("CA", "NV"))
    await add(raw, "texas", states=("TX",))
    await add(raw, "inactive", active=False)
    await add(raw, "nothing-left", leads_purchased=0)
    entry = await add_lead(raw, "lead-1", state="CA")
    async with fanout(settings):
        await caught_up(raw)
    assert await recipients(raw) == {"ada@example.com": 1, "everywhere@example.com": 1, "california@example.com": 1}
    assert {mail.lead_entry for mail in await requested(raw)} == {entry}
    rows = await raw.hgetall(keys.ledger(0, "lead-1"))
    assert rows.pop(b"fanout").decode() == entry
    assert set(rows) == {mail.email_id.encode() for mail in await requested(raw)}
    assert {row.split()[0] for row in rows.values()} == {b"requested"}


async def test_without_welcome_the_visitor_gets_nothing(settings: Settings, raw: Client) -> None:
    await add(raw, "one")
    await add_lead(raw)
    async with fanout(settings.model_copy(update={"welcome": False})):
        await caught_up(raw)
    assert await recipients(raw) == {"one@example.com": 1}


async def test_a_change_stored_before_the_lead_counts_for_it(settings: Settings, raw: Client) -> None:
    async with fanout(settings):
        await add_lead(raw)
        await caught_up(raw)
        await add(raw, "late")
        await add_lead(raw)
        await caught_up(raw)
    assert (await recipients(raw))["late@example.com"] == 1


async def test_ten_purchased_leads_are_never_eleven_with_four_services_at_once(settings: Settings, raw: Client) -> None:
    ten, free = await add(raw, "ten", leads_purchased=10), await add(raw, "free")
    async with fanout(settings, workers=4):
        await asyncio.gather(*(add_lead(raw) for _ in range(60)))
        await caught_up(raw)
        assert await recipients(raw) == {"ada@example.com": 60, "ten@example.com": 10, "free@example.com": 60}
        await settle_all(raw)
        await caught_up(raw, OUTCOMES, keys.QUOTA)
        await asyncio.gather(*(add_lead(raw) for _ in range(10)))
        await caught_up(raw)
    assert (await recipients(raw))["ten@example.com"] == 10
    usage = await SubscriberStore(raw).usage([ten.id, free.id])
    assert (usage[ten.id].sent, usage[ten.id].reserved) == (10, 0)
    assert (usage[free.id].sent, usage[free.id].reserved) == (60, 10)


async def test_a_mail_that_was_not_sent_gives_its_lead_back(settings: Settings, raw: Client) -> None:
    await add(raw, "one", leads_purchased=1)
    async with fanout(settings):
        await add_lead(raw)
        await caught_up(raw)
        await settle_all(raw, sent=False)
        await caught_up(raw, OUTCOMES, keys.QUOTA)
        await add_lead(raw)
        await caught_up(raw)
    assert (await recipients(raw))["one@example.com"] == 2


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("limit", [10, None], ids=["limited", "unlimited"])
async def test_reading_every_lead_again_asks_for_no_mail_and_reserves_nothing(
    settings: Settings, raw: Client, settled: bool, limit: int | None
) -> None:
    who = await add(raw, "ten", leads_purchased=limit)
    for _ in range(4):
        await add_lead(raw)
    async with fanout(settings):
        await caught_up(raw)
        assert (await SubscriberStore(raw).usage([who.id]))[who.id].reserved == 4
        if settled:
            await settle_all(raw)
            await caught_up(raw, OUTCOMES, keys.QUOTA)
    before = (await raw.xlen(EMAILS), (await SubscriberStore(raw).usage([who.id]))[who.id])
    await raw.xgroup_setid(LEADS, keys.FANOUT, "0")
    async with fanout(settings):
        await caught_up(raw)
    assert (await raw.xlen(EMAILS), (await SubscriberStore(raw).usage([who.id]))[who.id]) == before


async def test_reading_every_lead_again_reaches_nobody_who_subscribed_since(settings: Settings, raw: Client) -> None:
    await add(raw, "early")
    async with fanout(settings):
        await add_lead(raw)
        await caught_up(raw)
    before = await recipients(raw)
    await add(raw, "late")
    await raw.xgroup_setid(LEADS, keys.FANOUT, "0")
    async with fanout(settings):
        await caught_up(raw)
        assert await recipients(raw) == before


async def test_a_lead_delivered_again_after_its_reservation_reserves_the_same_one(
    settings: Settings, raw: Client
) -> None:
    who = await add(raw, "one", leads_purchased=1)
    lead_id = new_id()
    await raw.sadd(keys.reserved(who.id), email_id(lead_id, Kind.NOTIFICATION, who.id))  # reserved, then it crashed
    await add_lead(raw, lead_id)
    async with fanout(settings):
        await caught_up(raw)
    assert (await recipients(raw))["one@example.com"] == 1
    assert (await SubscriberStore(raw).usage([who.id]))[who.id].reserved == 1


async def test_an_outcome_delivered_twice_counts_once(settings: Settings, raw: Client) -> None:
    who = await add(raw, "one", leads_purchased=5)
    async with fanout(settings):
        await add_lead(raw)
        await caught_up(raw)
        await settle_all(raw)
        await settle_all(raw)
        await caught_up(raw, OUTCOMES, keys.QUOTA)
    usage = (await SubscriberStore(raw).usage([who.id]))[who.id]
    assert (usage.sent, usage.reserved) == (1, 0)
    assert usage.last_sent is not None


async def test_a_backlog_for_many_subscribers_is_committed_in_pieces(
    settings: Settings, raw: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def sized(group: str, consumer: str, checkpoints: str, settlements: Sequence[Settlement]) -> Any:
        sizes.append(sum(len(each.effects) for each in settlements))
        return commit_call(group, consumer, checkpoints, settlements)

    monkeypatch.setattr(committer, "commit_call", sized)
    for number in range(300):
        await add(raw, f"s{number}")
    for _ in range(30):
        await add_lead(raw)
    async with fanout(settings):
        await caught_up(raw)
    assert await raw.xlen(EMAILS) == 30 * 301
    assert max(sizes) <= committer.MAX_EFFECTS < sum(sizes)


async def test_after_a_flush_nobody_from_before_gets_a_mail(settings: Settings, raw: Client) -> None:
    await add(raw, "ghost")
    async with fanout(settings):
        await add_lead(raw)
        await caught_up(raw)
        await raw.flushall()
        await add(raw, "real")
        await add_lead(raw)
        await caught_up(raw)
        assert await recipients(raw) == {"ada@example.com": 1, "real@example.com": 1}
