"""Area B of docs/cases.md on the whole path: whatever the SMTP server does, each mail has one clear end."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from itertools import accumulate
from typing import Any

import pytest
import structlog.testing

from leadstream_events import keys
from leadstream_events.ledger import State
from leadstream_events.limits import Rate
from leadstream_events.schemas.events import (
    EmailDeferred,
    EmailFailed,
    EmailOutcomeUnknown,
    EmailSent,
    EmailSkipped,
    EntryDeadLettered,
)
from leadstream_events.setting_values import OnUnknown
from leadstream_events.settings import Settings
from leadstream_mail.attempt_rules import rules_of
from tests.cases.pipeline import Pipeline, assert_ordinary, pipeline
from tests.support.smtp_server import Fault, Moment, Reply, Script
from tests.support.waiting import DEADLINE_S


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """No welcome mail, and retries after a moment."""
    return settings.model_copy(update={"welcome": False, "retry_delays": (0.3,)})


async def attempts(house: Pipeline) -> list[int]:
    return [outcome.attempt for outcome in await house.outcomes() if isinstance(outcome, EmailSent)]


async def test_a_connection_closed_while_idle_costs_no_attempt(quick: Settings) -> None:
    """Case 039."""
    async with pipeline(quick) as house:
        await house.subscriber()
        await house.lead()
        await house.settled()
        house.smtp.time_out_all()
        await house.smtp.wait_until(lambda: not house.smtp.open)
        await house.lead()
        await house.settled()
        assert house.smtp.count == 2
        assert await attempts(house) == [1, 1]


async def test_nothing_is_connected_while_mails_wait_for_the_limit(quick: Settings) -> None:
    """Case 040: an idle time-out of the server shorter than the wait leads to no retry."""
    limited = quick.model_copy(update={"rate_limit": Rate(2, 2_500)})
    async with pipeline(limited, Script(idle_421_s=1.0)) as house:
        await house.subscribers(6)
        await house.lead()
        await house.settled()
        assert house.smtp.count == 6
        assert await attempts(house) == [1] * 6
        assert {type(outcome) for outcome in await house.outcomes()} == {EmailSent}


async def test_a_greylisted_mail_is_delivered_once_by_the_worker_that_first_tried_it(quick: Settings) -> None:
    """Cases 044, 083: a single worker comes back to its own deferred mail."""
    async with pipeline(quick, Script(greylist_s=0.2)) as house:
        await house.subscriber()
        await house.lead()
        await house.settled()
        assert [mail.recipients for mail in house.smtp.mails] == [("s1@example.com",)]
        first, last = await house.outcomes()
        assert isinstance(first, EmailDeferred) and (first.failure.code, first.attempt) == (450, 1)
        assert isinstance(last, EmailSent) and last.attempt == 2


def test_by_default_one_attempt_at_least_falls_after_five_minutes() -> None:
    """Case 044: what greylisting servers ask for."""
    settings = Settings()
    delays = [rules_of(settings).delay_s(attempt) for attempt in range(1, settings.max_attempts)]
    assert max(accumulate(delays)) > 300


@pytest.mark.parametrize("policy", OnUnknown)
async def test_a_lost_250_is_unknown_and_a_copy_carries_the_same_message_id(quick: Settings, policy: OnUnknown) -> None:
    """Cases 048, 067."""
    script = Script(faults=[Fault("body", Reply(drop=True, store=True))])
    async with pipeline(quick.model_copy(update={"on_unknown": policy}), script) as house:
        await house.subscriber()
        lead_id = await house.lead()
        await house.settled()
        first, *rest = await house.outcomes()
        assert isinstance(first, EmailOutcomeUnknown) and first.policy == policy
        (row,) = (await house.rows(lead_id)).values()
        if policy is OnUnknown.HOLD:
            assert (house.smtp.count, row.state, rest) == (1, State.HELD, [])
            return
        assert isinstance(rest[0], EmailSent) and rest[0].after_unknown
        assert row.state is State.SENT
        assert house.smtp.count == 2
        (copies,) = house.smtp.message_ids.values()
        assert copies == 2


async def test_the_message_id_is_the_same_after_a_retry(quick: Settings) -> None:
    """Case 067: derived from lead, kind and recipient."""
    script = Script(faults=[Fault("body", Reply(451, "4.3.0 later", store=True), times=2)])
    async with pipeline(quick, script) as house:
        await house.subscriber()
        await house.lead()
        await house.settled()
        assert list(house.smtp.message_ids.values()) == [3]


def test_by_default_the_answer_to_data_is_waited_for_longer_than_all_else() -> None:
    """Case 049: RFC 5321 section 4.5.3.2.6 asks for ten minutes; a lease is renewed meanwhile (case 099)."""
    assert Settings().smtp_data_timeout >= 120
    assert Settings().smtp_data_timeout > Settings().smtp_timeout


async def test_each_of_25_recipients_has_a_transaction_and_is_named_to_nobody_else(quick: Settings) -> None:
    """Case 050."""
    recipients = 0

    def second_rcpt(moment: Moment) -> Reply | None:
        nonlocal recipients
        recipients = recipients + 1 if moment.phase == "rcpt" else 0 if moment.phase == "mail" else recipients
        return Reply(452, "4.5.3 too many recipients") if moment.phase == "rcpt" and recipients > 1 else None

    one = quick.model_copy(update={"smtp_connections": 1})
    async with pipeline(one, Script(decide=second_rcpt, extensions=())) as house:
        await house.subscribers(25)
        await house.lead()
        await house.settled()
        assert sorted(house.smtp.recipients.values()) == [1] * 25
        assert house.smtp.commands().count(b"RCPT") == house.smtp.commands().count(b"MAIL") == 25
        for mail in house.smtp.mails:
            assert_ordinary(mail)
            named = set(re.findall(rb"s[0-9]+@example\.com", mail.data))
            assert named == {mail.recipients[0].encode()}


async def test_one_refused_recipient_stops_no_other_and_nothing_is_sent_again(quick: Settings) -> None:
    """Case 051, and 124: a group that is set back hands out every entry again, and no mail goes twice."""
    script = Script(faults=[Fault("rcpt", Reply(550, "5.1.1 no such user"), times=None, argument=b"<s2@")])
    async with pipeline(quick, script) as house:
        await house.subscribers(5)
        await house.lead()
        await house.settled()
        arrived = {"s1@example.com", "s3@example.com", "s4@example.com", "s5@example.com"}
        assert dict(house.smtp.recipients) == dict.fromkeys(arrived, 1)
        connections = house.smtp.connections
        for stream, group in ((keys.EMAILS, keys.MAILER), (keys.LEADS, keys.FANOUT)):
            await house.seek(stream, group)
            await house.settled()
        assert dict(house.smtp.recipients) == dict.fromkeys(arrived, 1)
        assert house.smtp.connections == connections
        assert len(await house.outcomes()) == 5


async def test_an_address_that_a_server_refuses_for_good_is_suppressed_once(quick: Settings) -> None:
    """Case 051's other half: nobody is there. A person's release stands although the outcome is read again."""
    script = Script(
        faults=[
            Fault("rcpt", Reply(550, "5.1.1 no such user"), times=None, argument=b"<s2@"),
            Fault("rcpt", Reply(550, "5.7.1 not by our policy"), times=None, argument=b"<s3@"),
        ]
    )
    async with pipeline(quick, script) as house:
        await house.subscribers(2)
        third = await house.subscriber("s3@example.com", leads_purchased=1)
        await house.lead()
        await house.settled()
        (found,) = (await house.api.get("/suppressions")).json()["items"]
        assert (found["address"], found["reason"]) == ("s2@example.com", "hard bounce 5.1.1")
        await house.lead()
        await house.settled()
        assert [type(each) for each in await house.outcomes()].count(EmailSkipped) == 1
        assert (await house.api.get(f"/subscribers/{third}")).json()["leads_remaining"] == 1
        assert (await house.api.delete("/suppressions/s2@example.com")).status_code == 204
        await house.seek(keys.OUTCOMES, keys.QUOTA)
        await house.settled()
        assert (await house.api.get("/suppressions")).json()["items"] == []


UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "053 STARTTLS is not offered": ({"scheme": "smtp+starttls", "user": "u:p"}, "tls_not_offered"),
    "055 the token is refused": ({"user": "u:bad", "query": "auth=xoauth2"}, "auth_failed"),
}


@pytest.mark.parametrize(("url", "cause"), UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_a_server_that_cannot_be_used_costs_no_attempt_and_the_mails_stay(
    quick: Settings, url: dict[str, Any], cause: str
) -> None:
    """Cases 053, 055: nothing is told to the server, the reason is logged, no mail is given up."""
    script = Script(tokens={"u": "good"}) if "query" in url else Script()
    with structlog.testing.capture_logs() as logged:
        async with pipeline(quick, script, **url) as house:
            await house.subscriber()
            lead_id = await house.lead()
            await house.smtp.wait_until(lambda: b"QUIT" in house.smtp.commands() or b"AUTH" in house.smtp.commands())
            await house.smtp.wait_until(lambda: not house.smtp.open)
            (row,) = (await house.rows(lead_id)).values()
            assert row.state in (State.REQUESTED, State.SENDING)
            assert b"MAIL" not in house.smtp.commands()
            assert await house.outcomes() == await house.events(keys.DEAD) == []
    assert cause in [entry.get("cause") for entry in logged]


async def test_a_refusal_in_another_charset_is_a_readable_dead_letter(quick: Settings) -> None:
    """Case 056."""
    script = Script(faults=[Fault("body", Reply(raw=b"550 \xc7\xeb\xca\xb9\r\n"))])
    async with pipeline(quick, script) as house:
        await house.subscriber()
        await house.lead()
        await house.settled()
        (failed,) = await house.outcomes()
        assert isinstance(failed, EmailFailed) and failed.failure is not None
        assert (failed.cause, failed.failure.permanent) == ("smtp_550", True)
        (letter,) = await house.events(keys.DEAD)
        assert isinstance(letter, EntryDeadLettered)
        assert "\ufffd" in letter.detail
        shown = await house.api.get("/dead-letters")
        assert json.loads(shown.content.decode("utf-8"))["items"][0]["cause"] == "smtp_550"


RESOLVER = {
    "no such name": socket.EAI_NONAME,
    "no answer": socket.EAI_AGAIN,
    "no address": -5,  # EAI_NODATA, which Python does not name everywhere
    "refused": socket.EAI_FAIL,
}


@pytest.mark.parametrize("error", RESOLVER.values(), ids=RESOLVER.keys())
async def test_mails_wait_for_a_name_that_does_not_resolve_and_go_out_without_a_restart(
    quick: Settings, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Cases 063, 064: no attempt is used, nothing is given up. The resolver of the system is what fails here."""
    real, failed = socket.getaddrinfo, asyncio.Event()
    loop, working = asyncio.get_running_loop(), False

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if host != "relay.example":
            return real(host, *args, **options)
        if not working:
            loop.call_soon_threadsafe(failed.set)
            raise socket.gaierror(error, "resolver")
        return real("127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with pipeline(quick, smtp_url="smtp://relay.example:{port}") as house:
        await house.subscribers(20)
        lead_id = await house.lead()
        async with asyncio.timeout(DEADLINE_S):
            await failed.wait()
        assert {row.state for row in (await house.rows(lead_id)).values()} <= {State.REQUESTED, State.SENDING}
        working = True
        await house.settled()
        assert dict(house.smtp.recipients) == {f"s{number}@example.com": 1 for number in range(1, 21)}
        assert await attempts(house) == [1] * 20
        assert await house.events(keys.DEAD) == []
