"""Mails that were skipped while their address got none: sent once it is released, each once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from leadstream_events import skipped_mails
from leadstream_events.ledger import State
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client
from leadstream_events.redrive import Redriver
from leadstream_events.redrive_rules import Actor, Refusal
from leadstream_events.schemas.events import EmailRequested, EmailSkipped
from leadstream_events.schemas.subscriber import SubscriberPatch, Suppression
from leadstream_events.subscribers import SubscriberStore
from tests.contract.given_up import events, row_of, settle_quota, skipped, subscriber, usage
from tests.support.entries import EMAILS, OUTCOMES, now

WHO = Actor("tests", "released")
WEEK = timedelta(days=7)


async def test_what_was_skipped_is_sent_once_however_often_it_is_asked_for(
    client: Client, log: StreamLog, redriver: Redriver
) -> None:
    who = await subscriber(client, purchased=1)
    mail = await skipped(client, who, "suppressed")
    await settle_quota(client)
    assert (await usage(client, who))[1] == 0
    held = await skipped_mails.find(log, who, now() - WEEK)
    assert [each.email_id for each in held] == [mail]
    answers = await asyncio.gather(*(skipped_mails.send(redriver, held, WHO) for _ in range(5)))
    assert sum(done[None] for done in answers) == 1
    assert set().union(*answers) <= {None, Refusal.ALREADY, Refusal.BUSY}
    requests = [event.data for event in await events(client, EMAILS, EmailRequested)]
    assert [each.redrives for each in requests if isinstance(each, EmailRequested)] == [0, 1]
    assert (await row_of(client, mail)).state is State.REQUESTED
    assert await usage(client, who) == (0, 1)
    await settle_quota(client)  # late news of the skipped mail ends nothing of the new one
    assert await usage(client, who) == (0, 1)


async def test_only_what_was_skipped_for_the_address_and_in_time_is_found(client: Client, log: StreamLog) -> None:
    who, other = await subscriber(client), await subscriber(client, address="other@example.com")
    await skipped(client, who, "inactive")
    await skipped(client, other, "suppressed")
    wanted = await skipped(client, who, "unsubscribed")
    assert [each.email_id for each in await skipped_mails.find(log, who, now() - WEEK)] == [wanted]
    assert await skipped_mails.find(log, who, now() + WEEK) == []


async def test_an_address_that_still_gets_no_mail_or_has_nothing_left_is_refused(
    client: Client, log: StreamLog, redriver: Redriver
) -> None:
    who = await subscriber(client, purchased=1)
    await skipped(client, who, "suppressed")
    await settle_quota(client)
    store = SubscriberStore(client)
    address = (await store.get(who)).email
    await store.suppress(Suppression(address=address, created_at=now()), now())
    held = await skipped_mails.find(log, who, now() - WEEK)
    assert await skipped_mails.send(redriver, held, WHO) == {Refusal.SUPPRESSED: 1}
    await store.release(address, "tests", now())
    await store.change(who, SubscriberPatch(leads_purchased=0), now())
    assert await skipped_mails.send(redriver, held, WHO) == {Refusal.NOTHING_LEFT: 1}
    assert len(await events(client, OUTCOMES, EmailSkipped)) == 1
    assert await usage(client, who) == (0, 0)
