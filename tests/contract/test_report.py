"""report: what came back about a mail is stored once, counts once, and suppresses once (case 152)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from leadstream_cli.cloudevents import Stored
from leadstream_cli.restoring import Restorer
from leadstream_events import keys, reports
from leadstream_events.address_digest import is_digest
from leadstream_events.directory import Directory
from leadstream_events.errors import NotFound
from leadstream_events.ids import new_id, partition_of
from leadstream_events.ledger import Row, State
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client
from leadstream_events.reports import MAX_REPORTS, Came, Report, record
from leadstream_events.schemas.events import EmailBounced, EmailComplained, RecipientSuppressed
from leadstream_events.schemas.subscriber import SubscriberPatch, Suppression
from leadstream_events.settings import Settings
from leadstream_events.signing import signing_secrets
from leadstream_events.subscribers import SubscriberStore
from leadstream_events.suppression_rules import ReportClass
from leadstream_events.vault import Vault, sealer_of
from leadstream_events.writer import PipelinedWriter
from leadstream_projections.counters import mail_metric
from tests.contract.given_up import events
from tests.support.entries import OUTCOMES, lead_event, now
from tests.support.sent_mail import SentMail, sent_mail, sent_welcome

SETTINGS = Settings(soft_bounces=3)


def about(mail: SentMail, report_class: ReportClass = ReportClass.HARD, **fields: Any) -> Report:
    given = {"source": "test", "report_id": new_id(), "at": now(), "recipient": mail.address, "enhanced": "5.1.1"}
    return Report(mail.lead_id, mail.email_id, report_class, **{**given, **fields})


async def suppressed(client: Client) -> dict[str, str]:
    return {item.address: item.reason for item in await SubscriberStore(client).suppressions()}


async def test_a_hard_bounce_is_stored_and_suppresses_the_address_at_once(client: Client) -> None:
    mail = await sent_mail(client)
    done = await record(client, SETTINGS, about(mail, code=550, detail="550 5.1.1 <s1@example.com>: no such user"))
    assert (done.came, done.suppressed) == (Came.NEW, "hard bounce 5.1.1")
    (event,) = await events(client, OUTCOMES, EmailBounced)
    assert isinstance(event.data, EmailBounced)
    assert event.subject == mail.lead_id
    assert (event.data.bounce_class, event.data.code, event.data.enhanced) == ("hard", 550, "5.1.1")
    assert event.data.detail == "550 5.1.1 <***@example.com>: no such user"
    assert await suppressed(client) == {"s1@example.com": "hard bounce 5.1.1"}


async def test_the_same_report_told_many_times_at_once_is_stored_and_suppresses_once(client: Client) -> None:
    report = about(await sent_mail(client))
    answers = await asyncio.gather(*(record(client, SETTINGS, report) for _ in range(10)))
    assert Counter(answer.came for answer in answers) == {Came.NEW: 1, Came.REPEATED: 9}
    assert len({answer.event_id for answer in answers}) == 1
    assert len(await events(client, OUTCOMES, EmailBounced)) == 1


async def test_three_copies_of_a_soft_bounce_do_not_reach_a_threshold_of_three(client: Client) -> None:
    report = about(await sent_mail(client), ReportClass.SOFT, enhanced="4.2.2")
    for _ in range(3):
        await record(client, SETTINGS, report)
    assert await suppressed(client) == {}
    for _ in range(2):
        await record(client, SETTINGS, about(await sent_mail(client), ReportClass.SOFT, enhanced="4.2.2"))
    assert await suppressed(client) == {"s1@example.com": "3 soft bounces within 7 days"}
    (held,) = await SubscriberStore(client).suppressions()
    assert held.expires_at is not None
    assert held.holds(now() + timedelta(days=29))
    assert not held.holds(now() + timedelta(days=31))


async def test_soft_bounces_before_the_time_do_not_count(client: Client) -> None:
    for days in (8, 8, 0):
        at = now() - timedelta(days=days)
        await record(client, SETTINGS, about(await sent_mail(client), ReportClass.SOFT, at=at))
    assert await suppressed(client) == {}


async def test_a_release_stands_when_an_old_report_is_read_again_and_soft_bounces_start_anew(client: Client) -> None:
    report = about(await sent_mail(client))
    await record(client, SETTINGS, report)
    for _ in range(2):
        await record(client, SETTINGS, about(await sent_mail(client), ReportClass.SOFT))
    await SubscriberStore(client).release("s1@example.com", "tests", now())
    assert (await record(client, SETTINGS, report)).came is Came.REPEATED
    await record(client, SETTINGS, about(await sent_mail(client), ReportClass.SOFT))
    assert await suppressed(client) == {}


async def test_a_crash_between_the_two_steps_heals_when_the_report_is_told_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = about(await sent_mail(client))

    async def dies(*_: object) -> str:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(reports, "_apply", dies)
        with pytest.raises(ConnectionError):
            await record(client, SETTINGS, report)
    assert await suppressed(client) == {}
    again = await record(client, SETTINGS, report)
    assert (again.came, again.suppressed) == (Came.REPEATED, "hard bounce 5.1.1")
    assert len(await events(client, OUTCOMES, EmailBounced)) == 1
    assert (await record(client, SETTINGS, report)).suppressed == ""


async def test_different_reports_of_one_mail_are_all_stored_and_count_once_each_kind(client: Client) -> None:
    mail = await sent_mail(client)
    for _ in range(2):
        await record(client, SETTINGS, about(mail, ReportClass.SOFT))
        await record(client, SETTINGS, about(mail, ReportClass.COMPLAINT, feedback_type="abuse"))
    bounced = await events(client, OUTCOMES, EmailBounced)
    complained = await events(client, OUTCOMES, EmailComplained)
    assert [mail_metric(event) for event in bounced] == ["bounced", None]
    assert [mail_metric(event) for event in complained] == ["complained", None]


async def test_a_mail_that_nobody_knows_changes_nothing(client: Client) -> None:
    mail = await sent_mail(client)
    for stranger in (replace(about(mail), email_id=new_id()), replace(about(mail), lead_id=new_id())):
        assert (await record(client, SETTINGS, stranger)).came is Came.UNKNOWN_MAIL
    assert (await events(client, OUTCOMES, EmailBounced), await suppressed(client)) == ([], {})


async def test_a_report_about_another_address_changes_nothing(client: Client) -> None:
    mail = await sent_mail(client)
    assert (await record(client, SETTINGS, about(mail, recipient="victim@example.com"))).came is Came.OTHER_ADDRESS
    assert (await events(client, OUTCOMES, EmailBounced), await suppressed(client)) == ([], {})


async def test_the_address_of_then_and_of_now_may_be_meant_in_any_spelling(client: Client) -> None:
    mail = await sent_mail(client)
    assert mail.subscriber_id
    patch = SubscriberPatch(email="new@example.com")
    await SubscriberStore(client).change(mail.subscriber_id, patch, now())
    assert (await record(client, SETTINGS, about(mail, recipient="S1@EXAMPLE.com"))).came is Came.NEW
    assert await suppressed(client) == {"s1@example.com": "hard bounce 5.1.1"}
    await record(client, SETTINGS, about(mail, recipient="new@example.com"))
    assert sorted(await suppressed(client)) == ["new@example.com", "s1@example.com"]


@pytest.mark.parametrize("feedback", ["not-spam", "auth-failure", "virus"])
async def test_feedback_that_is_no_complaint_changes_nothing(client: Client, feedback: str) -> None:
    report = about(await sent_mail(client), ReportClass.COMPLAINT, feedback_type=feedback)
    assert (await record(client, SETTINGS, report)).came is Came.IGNORED
    assert (await events(client, OUTCOMES, EmailComplained), await suppressed(client)) == ([], {})


@pytest.mark.parametrize("feedback", ["abuse", "fraud", "opt-out", "brand-new-type"])
async def test_a_complaint_suppresses_at_once_also_without_a_recipient(client: Client, feedback: str) -> None:
    report = about(await sent_mail(client), ReportClass.COMPLAINT, feedback_type=feedback, recipient=None)
    assert (await record(client, SETTINGS, report)).suppressed == f"complaint {feedback}"
    assert await suppressed(client) == {"s1@example.com": f"complaint {feedback}"}


async def _sealed_welcome(client: Client) -> SentMail:
    """The mail to a lead that is stored sealed: its request names no address."""
    event = lead_event(email="visitor@example.net")
    async with PipelinedWriter(client) as writer:
        vault = Vault(client, sealer_of(SETTINGS))
        log = StreamLog(client, writer, partitions=1, deadline_s=5.0, vault=vault)
        stored = await log.append_lead(event, "f")
    return await sent_welcome(client, "", lead_id=event.subject, lead_entry=stored.entry_id)


async def test_the_address_of_a_sealed_lead_is_read_to_see_whom_a_report_is_about(client: Client) -> None:
    mail = await _sealed_welcome(client)
    assert (await record(client, SETTINGS, about(mail, recipient="victim@example.net"))).came is Came.OTHER_ADDRESS
    assert await suppressed(client) == {}
    assert (await record(client, SETTINGS, about(mail, recipient="Visitor@example.net"))).came is Came.NEW
    ((address, reason),) = (await suppressed(client)).items()
    assert (is_digest(address), reason) == (True, "hard bounce 5.1.1")


async def test_a_leads_own_address_gets_no_mail_any_more_and_stands_nowhere(client: Client) -> None:
    await record(client, SETTINGS, about(await sent_welcome(client, "visitor@example.net")))
    known = await Directory(client, await signing_secrets(client, SETTINGS)).refresh()
    assert known.why_silent("Visitor@Example.net", now()) == "suppressed"
    assert known.why_silent("other@example.net", now()) is None
    assert (await Directory(client).refresh()).why_silent("visitor@example.net", now()) is None
    async for key in client.scan_iter("leadstream:{subscribers}:*"):
        assert b"visitor@" not in await client.dump(key)


async def test_a_report_about_an_erased_lead_is_stored_and_brings_no_address_back(client: Client) -> None:
    mail = await _sealed_welcome(client)
    await client.hset(keys.lead_keys(0), mail.lead_id, "erased")
    assert (await record(client, SETTINGS, about(mail, recipient="visitor@example.net"))).came is Came.NEW
    assert await suppressed(client) == {}


async def test_a_block_is_stored_and_suppresses_nobody(client: Client) -> None:
    assert (await record(client, SETTINGS, about(await sent_mail(client), ReportClass.BLOCK))).came is Came.NEW
    assert await suppressed(client) == {}


async def test_the_first_reason_stays_and_a_short_suppression_becomes_a_lasting_one(client: Client) -> None:
    store = SubscriberStore(client)
    lasting = Suppression(address="s1@example.com", reason="asked by phone", created_at=now())
    await store.suppress(lasting, now())
    await record(client, SETTINGS, about(await sent_mail(client)))
    assert await suppressed(client) == {"s1@example.com": "asked by phone"}
    await store.suppress(lasting.model_copy(update={"expires_at": now() + timedelta(days=1)}), now())
    await record(client, SETTINGS, about(await sent_mail(client)))
    assert await suppressed(client) == {"s1@example.com": "hard bounce 5.1.1"}
    assert len(await events(client, keys.SUBSCRIBER_EVENTS, RecipientSuppressed)) == 3


async def test_what_was_told_before_an_import_changes_nothing_after_it(client: Client) -> None:
    mail = await sent_mail(client)
    report = about(mail)
    await record(client, SETTINGS, report)
    entries = await client.xrange(OUTCOMES)
    await client.delete(OUTCOMES, keys.ledger(0, mail.lead_id), keys.SUPPRESSIONS)
    restorer = Restorer(client, 1)
    stored = [
        Stored("outcomes", 0, at.decode(), f[b"id"].decode(), f[b"type"].decode(), mail.lead_id, f, f[b"data"])
        for at, f in entries
    ]
    await restorer.store(list(enumerate(stored)))
    assert (restorer.report.stored, restorer.report.refused) == (2, [])
    row = Row(State.SENT, 1, entry=(await client.xrange(keys.stream(0, keys.EMAILS)))[0][0].decode())
    await client.hset(keys.ledger(0, mail.lead_id), mail.email_id, str(row))
    assert (await record(client, SETTINGS, report)).came is Came.REPEATED
    await record(client, SETTINGS, about(mail))
    assert [mail_metric(event) for event in await events(client, OUTCOMES, EmailBounced)] == ["bounced", None]


async def test_a_flood_of_reports_about_one_mail_ends(client: Client) -> None:
    mail = await sent_mail(client)
    for _ in range(MAX_REPORTS):
        await record(client, SETTINGS, about(mail, ReportClass.BLOCK))
    assert (await record(client, SETTINGS, about(mail))).came is Came.TOO_MANY
    assert len(await events(client, OUTCOMES, EmailBounced)) == MAX_REPORTS


@pytest.mark.parametrize("report_id", ["", "a b", "a\nb", "ä", "x" * 201])
async def test_a_report_id_that_cannot_be_one_is_refused(client: Client, report_id: str) -> None:
    with pytest.raises(ValueError, match="report_id"):
        await record(client, SETTINGS, about(await sent_mail(client), report_id=report_id))


async def test_over_partitions_the_report_finds_its_mail(client: Client) -> None:
    settings = SETTINGS.model_copy(update={"partitions": 4})
    mails = [await sent_welcome(client, f"v{number}@example.net", partitions=4) for number in range(8)]
    for mail in mails:
        assert (await record(client, settings, about(mail))).came is Came.NEW
        stream = keys.stream(partition_of(mail.lead_id, 4), keys.OUTCOMES)
        assert mail.lead_id in {event.subject for event in await events(client, stream, EmailBounced)}
    assert len(await suppressed(client)) == 8
    with pytest.raises(NotFound):
        await SubscriberStore(client).release("nobody@example.net", "tests", now())
