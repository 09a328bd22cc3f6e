"""A letter is dropped with a reason, and a held mail ends as a person found it: each once (case 125)."""

from __future__ import annotations

import asyncio

from leadstream_events import keys
from leadstream_events.effects import append, set_field
from leadstream_events.envelope import make_event
from leadstream_events.ids import email_id
from leadstream_events.ledger import Row, State
from leadstream_events.redis_client import Client
from leadstream_events.redrive import Redriver
from leadstream_events.redrive_rules import Actor, Refusal
from leadstream_events.schemas.events import (
    DeadLetterDropped,
    EmailRequested,
    Kind,
    MailSettled,
)
from tests.contract.given_up import LEAD, WHO, events, given_up, row_of, settle_quota, subscriber, usage
from tests.support.entries import DEAD, EMAILS, OUTCOMES, now


async def test_dropping_keeps_the_reason_and_gives_the_purchased_lead_back(client: Client, redriver: Redriver) -> None:
    who = await subscriber(client, purchased=1)
    mail, letter = await given_up(client, who, state=State.DEFERRED, attempts=1, cause="poison")
    assert await usage(client, who) == (0, 1)
    assert (await redriver.drop(0, letter, Actor("tests", "a test address"))).refusal is None
    assert (await redriver.drop(0, letter, WHO)).refusal is Refusal.ALREADY
    (event,) = await events(client, OUTCOMES, DeadLetterDropped)
    assert isinstance(event.data, DeadLetterDropped)
    assert (event.data.reason, event.data.cause) == ("a test address", "poison")
    await settle_quota(client)
    assert await usage(client, who) == (0, 0)
    assert (await row_of(client, mail)).state is State.FAILED


async def test_a_held_mail_settled_as_sent_counts_once(client: Client, redriver: Redriver) -> None:
    who = await subscriber(client, purchased=1)
    mail, letter = await given_up(client, who, state=State.HELD, cause="outcome_unknown")
    assert (await redriver.drop(0, letter, WHO)).refusal is Refusal.HELD
    both = await asyncio.gather(*(redriver.settle(LEAD, mail, WHO, sent=True) for _ in range(2)))
    assert sum(answer.refusal is None for answer in both) == 1
    await settle_quota(client)
    await settle_quota(client)
    assert await usage(client, who) == (1, 0)
    assert await client.xlen(DEAD) == 0
    assert len(await events(client, OUTCOMES, MailSettled)) == 1
    assert (await redriver.resend(LEAD, mail, WHO)).refusal is Refusal.ALREADY


async def test_a_held_mail_settled_as_not_sent_can_be_sent_again_after_its_letter_is_gone(
    client: Client, redriver: Redriver
) -> None:
    who = await subscriber(client, purchased=1)
    mail, _ = await given_up(client, who, state=State.HELD, cause="outcome_unknown")
    assert (await redriver.settle(LEAD, mail, WHO, sent=False)).refusal is None
    await settle_quota(client)
    assert await usage(client, who) == (0, 0)
    assert (await redriver.resend(LEAD, mail, WHO)).refusal is None
    assert await usage(client, who) == (0, 1)
    assert (await row_of(client, mail)).state is State.REQUESTED


async def test_resending_a_held_mail_keeps_its_mark_and_its_one_reservation(client: Client, redriver: Redriver) -> None:
    who = await subscriber(client, purchased=1)
    mail, _ = await given_up(client, who, state=State.HELD, cause="outcome_unknown")
    await client.hset(keys.ledger(0, LEAD), mail, str(Row(State.HELD, 2, 1, entry=(await row_of(client, mail)).entry)))
    assert (await redriver.resend(LEAD, mail, WHO)).refusal is None
    assert str(await row_of(client, mail)).startswith("requested 0 1 ")
    assert await usage(client, who) == (0, 1)
    assert await client.xlen(DEAD) == 0


async def test_a_mail_on_its_way_cannot_be_resent(client: Client, redriver: Redriver) -> None:
    who = await subscriber(client)
    mail = email_id(LEAD, Kind.NOTIFICATION, who)
    data = EmailRequested(
        email_id=mail, kind=Kind.NOTIFICATION, subscriber_id=who, to="s@example.com", lead_entry="1-1"
    )
    add, row = append(EMAILS, make_event(data, subject=LEAD, now=now())), Row(State.REQUESTED)
    await client.execute_command("XADD", add.key, *add.args)
    put = set_field(keys.ledger(0, LEAD), mail, str(row))
    await client.hset(put.key, *put.args)
    assert (await redriver.resend(LEAD, mail, WHO)).refusal is Refusal.UNDER_WAY
