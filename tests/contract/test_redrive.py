"""redrive: a dead letter is closed once and its mail begins again once, whoever presses how often (case 125)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from leadstream_events import dead_letters, keys, scripts
from leadstream_events.effects import Settlement
from leadstream_events.envelope import encode, flat, make_event
from leadstream_events.ledger import Row, State
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client
from leadstream_events.redrive import Redriver
from leadstream_events.redrive_rules import Refusal
from leadstream_events.runtime.delivery import Delivery, dead_letter, make_delivery
from leadstream_events.schemas.events import (
    DeadLetterRedriven,
    EmailRequested,
    Kind,
)
from leadstream_events.schemas.subscriber import SubscriberPatch, Suppression
from leadstream_events.subscribers import SubscriberStore
from tests.contract.given_up import LEAD, WHO, events, fail, given_up, row_of, settle_quota, subscriber, usage
from tests.support.entries import DEAD, EMAILS, LEADS, OUTCOMES, add_lead, commit, now, pending


async def test_ten_redrives_at_once_request_the_mail_once(client: Client, redriver: Redriver) -> None:
    mail, letter = await given_up(client, await subscriber(client))
    answers = await asyncio.gather(*(redriver.redrive(0, letter, WHO) for _ in range(10)))
    refusals = Counter(answer.refusal for answer in answers)
    assert refusals[None] == 1
    assert set(refusals) <= {None, Refusal.ALREADY, Refusal.BUSY}
    assert (await redriver.redrive(0, letter, WHO)).refusal is Refusal.ALREADY
    assert len(await events(client, EMAILS, EmailRequested)) == 2
    assert len(await events(client, OUTCOMES, DeadLetterRedriven)) == 1
    assert await client.xlen(DEAD) == 0
    assert str(await row_of(client, mail)).startswith("requested 0 0 ")


async def test_two_redrives_of_everything_at_once_redrive_each_letter_once(client: Client, log: StreamLog) -> None:
    await given_up(client, await subscriber(client))
    both = await asyncio.gather(*(Redriver(log, lease_s=60).redrive_all(lambda letter: True, WHO) for _ in range(2)))
    assert sum(done[None] for done in both) == 1
    assert len(await events(client, EMAILS, EmailRequested)) == 2


async def test_it_is_told_who_redrove_what_and_why(client: Client, redriver: Redriver) -> None:
    mail, letter = await given_up(client, await subscriber(client))
    await redriver.redrive(0, letter, WHO)
    (event,) = await events(client, OUTCOMES, DeadLetterRedriven)
    assert event.subject == LEAD
    assert isinstance(event.data, DeadLetterRedriven)
    told = event.data
    assert (told.by, told.reason, told.cause, told.dead_entry) == ("tests", "address corrected", "smtp_550", letter)
    assert (told.email_id, told.attempts) == (mail, 4)


async def test_a_letter_that_fails_again_is_one_letter_with_more_attempts(
    client: Client, log: StreamLog, redriver: Redriver
) -> None:
    who = await subscriber(client)
    mail, letter = await given_up(client, who, attempts=4)
    done = await redriver.redrive(0, letter, WHO)
    entry = await log.read(EMAILS, done.entry_id)
    assert entry is not None
    assert entry.event is not None
    await fail(client, entry.event, done.entry_id.encode(), attempts=3)
    assert await dead_letters.total(log) == 1
    (again,) = [found async for found in dead_letters.each(log)]
    assert again.email_id == mail
    assert dead_letters.attempts_in_all(again, await row_of(client, mail)) == 7
    assert again.request is not None
    assert again.request.redrives == 1


async def test_a_redriven_mail_uses_up_one_purchased_lead_however_late_its_failure_is_settled(
    client: Client, log: StreamLog, redriver: Redriver
) -> None:
    who = await subscriber(client, purchased=2)
    _, letter = await given_up(client, who)
    done = await redriver.redrive(0, letter, WHO)
    await settle_quota(client)  # only now it hears that the first round failed
    assert await usage(client, who) == (0, 1)
    entry = await log.read(EMAILS, done.entry_id)
    assert entry is not None
    assert entry.event is not None
    assert isinstance(entry.event.data, EmailRequested)
    await settle_as_sent(client, entry.event.data)
    await settle_quota(client)
    assert await usage(client, who) == (1, 0)


async def settle_as_sent(client: Client, mail: EmailRequested) -> None:
    from leadstream_events.schemas.events import EmailSent

    sent = EmailSent(
        email_id=mail.email_id, kind=mail.kind, subscriber_id=mail.subscriber_id, reservation=mail.reservation,
        attempt=1, code=250, reply="ok", message_id="<m@example.com>",
    )  # fmt: skip
    await client.xadd(OUTCOMES, encode(make_event(sent, subject=LEAD, now=now())))


async def test_nothing_is_redriven_for_a_subscriber_with_nothing_left(client: Client, redriver: Redriver) -> None:
    who = await subscriber(client, purchased=0)
    mail, letter = await given_up(client, who)
    await settle_quota(client)
    assert (await redriver.redrive(0, letter, WHO)).refusal is Refusal.NOTHING_LEFT
    assert await client.xlen(DEAD) == 1
    assert (await row_of(client, mail)).state is State.FAILED
    assert await usage(client, who) == (0, 0)


async def test_what_the_mailer_would_skip_is_refused_with_its_mend(client: Client, redriver: Redriver) -> None:
    store, who = SubscriberStore(client), await subscriber(client)
    _, letter = await given_up(client, who)
    await store.change(who, SubscriberPatch(active=False), now())
    assert (await redriver.redrive(0, letter, WHO)).refusal is Refusal.INACTIVE
    await store.change(who, SubscriberPatch(active=True), now())
    await store.suppress(Suppression(address="s@example.com", created_at=now()), now())
    assert (await redriver.redrive(0, letter, WHO)).refusal is Refusal.SUPPRESSED
    await store.remove(who, now())
    assert (await redriver.redrive(0, letter, WHO)).refusal is Refusal.REMOVED
    assert len(await events(client, EMAILS, EmailRequested)) == 1


async def test_a_mail_that_was_sent_meanwhile_is_not_sent_again(client: Client, redriver: Redriver) -> None:
    mail, letter = await given_up(client, await subscriber(client))
    await client.hset(keys.ledger(0, LEAD), mail, str(Row(State.SENT, 1)))
    assert (await redriver.redrive(0, letter, WHO)).refusal is Refusal.SENT
    assert len(await events(client, EMAILS, EmailRequested)) == 1


async def test_an_entry_of_another_group_is_delivered_again_to_that_group_alone(
    client: Client, redriver: Redriver
) -> None:
    entry = await add_lead(client, LEAD)
    for group in ("fanout", "projections.totals"):
        await client.xgroup_create(LEADS, group, "0")
        await client.xreadgroup(group, "c", {LEADS: ">"})
    fields = (await client.xrange(LEADS))[0][1]
    delivery = make_delivery(0, LEADS, entry.encode(), fields)
    letter = dead_letter(delivery, "fanout", "bug", "ValueError", now())
    await commit(client, "fanout", "c", Settlement(LEADS, entry, (letter,)))
    await commit(client, "projections.totals", "c", Settlement(LEADS, entry))
    dead = (await client.xrange(DEAD))[0][0].decode()

    assert (await redriver.redrive(0, dead, WHO)).refusal is None
    assert await client.xlen(LEADS) == 1
    assert set(await pending(client, LEADS, "fanout")) == {entry}
    assert await pending(client, LEADS, "projections.totals") == {}
    _, found = await scripts.run(client, scripts.DUE, [keys.due(0, "fanout"), LEADS], ["fanout", "c2", 10, "leads"])
    assert [item[1].decode() for item in found] == [entry]


async def test_an_entry_that_was_trimmed_cannot_be_delivered_again_and_its_letter_stays(
    client: Client, redriver: Redriver
) -> None:
    delivery = make_delivery(0, LEADS, b"5-5", {b"id": b"x"})
    effect = dead_letter(delivery, "fanout", "bug", "", now())
    letter = (await client.execute_command("XADD", effect.key, *effect.args)).decode()
    assert (await redriver.redrive(0, letter, WHO)).refusal is Refusal.GONE
    assert await client.xlen(DEAD) == 1


async def test_a_letter_that_a_group_has_not_finished_is_not_deleted(client: Client, redriver: Redriver) -> None:
    _, letter = await given_up(client, await subscriber(client))
    await client.xgroup_create(DEAD, "archiver", "0")
    assert (await redriver.redrive(0, letter, WHO)).refusal is Refusal.UNREAD
    await client.xreadgroup("archiver", "c", {DEAD: ">"})
    assert (await redriver.redrive(0, letter, WHO)).refusal is Refusal.UNREAD
    await client.xack(DEAD, "archiver", letter)
    assert (await redriver.redrive(0, letter, WHO)).refusal is None


async def test_what_was_set_aside_for_a_refused_redrive_is_given_back(client: Client, redriver: Redriver) -> None:
    who = await subscriber(client, purchased=1)
    _, letter = await given_up(client, who)
    await settle_quota(client)
    await client.xgroup_create(DEAD, "archiver", "0")
    assert (await redriver.redrive(0, letter, WHO)).refusal is Refusal.UNREAD
    assert await usage(client, who) == (0, 0)


async def test_nothing_is_written_when_a_stream_is_of_another_type(client: Client, redriver: Redriver) -> None:
    _, letter = await given_up(client, None)
    await client.delete(OUTCOMES)
    await client.set(OUTCOMES, "not a stream")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await redriver.redrive(0, letter, WHO)
    assert await client.xlen(DEAD) == 1
    assert await client.xlen(EMAILS) == 1


async def test_letters_are_counted_by_cause_with_what_was_not_looked_at(client: Client, log: StreamLog) -> None:
    event = make_event(
        EmailRequested(email_id="m", kind=Kind.WELCOME, to="w@example.com", lead_entry="1-1"), subject=LEAD, now=now()
    )
    delivery = Delivery(
        0, EMAILS, "1-1", dict(zip(*[iter(part.encode() for part in flat(event))] * 2, strict=True)), event
    )
    for cause in ("smtp_550", "smtp_550", "template"):
        effect = dead_letter(delivery, keys.MAILER, cause, "", now())
        await client.execute_command("XADD", effect.key, *effect.args)
    await client.xadd(DEAD, {"id": "broken"})
    found = await dead_letters.tally(log, lambda letter: letter.cause)
    assert [(kin.key, kin.count) for kin in found.groups] == [("smtp_550", 2), ("missing_field", 1), ("template", 1)]
    few = await dead_letters.tally(log, lambda letter: letter.cause, up_to=2)
    assert (few.counted, few.total) == (2, 4)
