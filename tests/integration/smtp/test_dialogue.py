"""What each fault of a server means for a mail."""

from __future__ import annotations

import asyncio

import pytest

from leadstream_events.errors import Backpressure, RedisCause
from leadstream_mail.smtp.outcome import Accepted, Deferred, LeaseLost, Outcome, Refused, Unknown, Unreachable
from tests.integration.smtp.conftest import FROM, MakeRig, a_mail
from tests.support.smtp_server import Fault, Reply, Script
from tests.unit.mailer.mails import a_lead, parts, prepared, raw

NOT_PIPELINED = Script(extensions=("SIZE 35882577", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"))
BYE = Reply(421, "4.3.2 going down", close=True)


async def test_a_mail_arrives_as_it_was_built(rig: MakeRig) -> None:
    """Cases 058, 059: dots and line breaks survive, and nothing bare is on the wire."""
    text = "hello\n.\nworld\n..x\n.y"
    smtp = await rig()
    mail = raw(a_lead(metadata={"comments": text}))
    outcome = await smtp.pool.send(FROM, mail, lambda: asyncio.sleep(0, True))
    assert outcome == Accepted(250, "2.0.0 queued as 1-1")
    (arrived,) = smtp.server.mails
    assert arrived.data == mail.data
    assert arrived.bare_breaks == 0
    assert (arrived.mail_from, arrived.recipients) == (FROM, ("s1@example.com",))
    assert text in parts(arrived.data)[0]


async def test_a_lenient_server_sees_one_mail_and_no_smuggled_recipient(rig: MakeRig) -> None:
    """Case 060."""
    evil = "x\n.\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<spy@example.com>\r\nDATA\r\n\r\nhi\r\n.\r\n"
    smtp = await rig(Script(lenient_end=True))
    await smtp.pool.send(FROM, raw(a_lead(metadata={"comments": evil})), lambda: asyncio.sleep(0, True))
    await smtp.send(2)
    assert [mail.recipients for mail in smtp.server.mails] == [("s1@example.com",), ("s2@example.com",)]
    assert smtp.server.commands().count(b"RCPT") == 2


@pytest.mark.parametrize(
    ("phase", "reply", "kind", "code", "cause"),
    [
        ("connect", Reply(554, "5.3.2 no service"), Unreachable, 554, "server_refuses"),
        ("connect", Reply(421, "4.3.2 later"), Unreachable, 421, "server_busy"),
        ("connect", Reply(drop=True), Unreachable, None, "connection_lost"),
        ("connect", Reply(raw=b"\xff\xfe what?\r\n"), Unreachable, None, "garbled_reply"),
        ("ehlo", Reply(550, "5.7.1 no"), Unreachable, 550, "server_refuses"),
        ("ehlo", Reply(drop=True), Unreachable, None, "connection_lost"),
        ("mail", Reply(421, "4.3.2 later", close=True), Unreachable, 421, "server_busy"),
        ("mail", Reply(530, "5.7.0 log in first"), Unreachable, 530, "auth_required"),
        ("mail", Reply(drop=True), Unreachable, None, "connection_lost"),
        ("mail", Reply(550, "5.7.1 sender refused"), Refused, 550, "policy"),
        ("mail", Reply(451, "4.3.0 later"), Deferred, 451, "deferred"),
        ("rcpt", Reply(550, "5.1.1 <s1@example.com> unknown"), Refused, 550, "user_unknown"),
        ("rcpt", Reply(450, "4.2.0 greylisted"), Deferred, 450, "deferred"),
        ("rcpt", Reply(452, "4.5.3 too many"), Deferred, 452, "too_many_recipients"),
        ("rcpt", Reply(552, "5.5.3 too many"), Deferred, 552, "too_many_recipients"),
        ("rcpt", Reply(drop=True), Deferred, None, "connection_lost"),
        ("data", Reply(554, "5.5.1 no"), Refused, 554, "rejected"),
        ("data", Reply(drop=True), Deferred, None, "connection_lost"),
        ("body", Reply(554, "5.6.0 bad content"), Refused, 554, "content"),
        ("body", Reply(451, "4.3.0 disk full"), Deferred, 451, "deferred"),
        ("body", Reply(421, "4.3.2 going down", close=True), Deferred, 421, "deferred"),
        ("body", Reply(drop=True, store=True), Unknown, None, "connection_lost"),
        ("body", Reply(raw=b"huh\r\n", store=True), Unknown, None, "garbled_reply"),
    ],
)
@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelined", "one by one"])
async def test_a_fault_becomes_the_one_outcome_it_means_and_the_next_mail_goes_through(
    rig: MakeRig,
    phase: str,
    reply: Reply,
    kind: type[Outcome],
    code: int | None,
    cause: str,
    extensions: tuple[str, ...],
) -> None:
    smtp = await rig(Script(faults=[Fault(phase, reply)], extensions=extensions))
    outcome = await smtp.send(1)
    assert type(outcome) is kind
    assert isinstance(outcome, Deferred | Refused | Unknown | Unreachable)
    assert (outcome.failure.code, outcome.failure.cause) == (code, cause)
    assert "@" not in outcome.failure.line
    assert isinstance(await smtp.send(2), Accepted)
    assert smtp.server.mails[-1].recipients == ("s2@example.com",)


async def test_a_reply_in_another_charset_is_stored_readably(rig: MakeRig) -> None:
    """Case 056."""
    smtp = await rig(Script(faults=[Fault("body", Reply(raw=b"550 \xc7\xeb\xca\xb9\r\n"))]))
    outcome = await smtp.send()
    assert isinstance(outcome, Refused)
    assert outcome.failure.line.encode("utf-8")
    assert "\ufffd" in outcome.failure.line
    assert outcome.failure.model_dump_json()


async def test_a_multi_line_reply_is_read_to_its_last_line(rig: MakeRig) -> None:
    """Case 057."""
    text = "5.1.1 The account does not exist.\n5.1.1 Check for typos\n5.1.1 ref x1 - gsmtp"
    smtp = await rig(Script(faults=[Fault("rcpt", Reply(550, text))]))
    outcome = await smtp.send(1)
    assert isinstance(outcome, Refused)
    assert (outcome.failure.enhanced, outcome.failure.cause) == ("5.1.1", "user_unknown")
    assert outcome.failure.line == text.replace("\n", " ")
    assert isinstance(await smtp.send(2), Accepted)


async def test_a_refused_recipient_leaves_the_connection_to_the_others(rig: MakeRig) -> None:
    """Cases 050, 051: one transaction per recipient."""
    smtp = await rig(Script(faults=[Fault("rcpt", Reply(550, "5.1.1 no"), times=None, argument=b"s2@")]))
    outcomes = [await smtp.send(number) for number in range(1, 6)]
    assert [type(outcome) for outcome in outcomes] == [Accepted, Refused, Accepted, Accepted, Accepted]
    assert smtp.server.connections == 1
    assert all(len(mail.recipients) == 1 for mail in smtp.server.mails)


async def test_a_slow_answer_to_the_content_is_waited_for_longer_than_other_replies(rig: MakeRig) -> None:
    """Case 049: two timeouts."""
    smtp = await rig(Script(faults=[Fault("body", Reply(delay_s=3.0))]), timeout_s=1.5, data_timeout_s=30.0)
    assert isinstance(await smtp.send(), Accepted)
    assert smtp.server.count == 1


async def test_no_answer_to_the_content_in_time_is_unknown_and_the_connection_is_not_used_again(rig: MakeRig) -> None:
    """Case 048: the late reply must not be taken for that of the next mail."""
    smtp = await rig(Script(faults=[Fault("body", Reply(550, delay_s=3.0, store=True))]), data_timeout_s=1.5)
    first = await smtp.send(1)
    assert isinstance(first, Unknown)
    assert first.failure.cause == "timeout"
    assert isinstance(await smtp.send(2), Accepted)
    assert smtp.server.connections == 2


@pytest.mark.parametrize(("phase", "kind"), [("connect", Unreachable), ("mail", Unreachable), ("rcpt", Deferred)])
async def test_a_silent_server_times_out_without_any_doubt_about_the_mail(
    rig: MakeRig, phase: str, kind: type[Outcome]
) -> None:
    smtp = await rig(Script(faults=[Fault(phase, Reply(delay_s=60.0))]), timeout_s=1.5)
    outcome = await smtp.send()
    assert type(outcome) is kind
    assert isinstance(outcome, Deferred | Unreachable)
    assert outcome.failure.cause == "timeout"
    assert smtp.before == 0


async def test_a_lost_lease_sends_nothing_and_keeps_the_connection(rig: MakeRig) -> None:
    smtp = await rig(NOT_PIPELINED)

    async def no() -> bool:
        return False

    assert await smtp.pool.send(FROM, a_mail(1), no) == LeaseLost()
    assert isinstance(await smtp.send(2), Accepted)
    assert [mail.recipients for mail in smtp.server.mails] == [("s2@example.com",)]
    assert smtp.server.connections == 1
    assert smtp.server.commands()[:5] == [b"EHLO", b"MAIL", b"RCPT", b"RSET", b"MAIL"]


async def test_an_error_of_the_caller_passes_through_and_costs_only_the_connection(rig: MakeRig) -> None:
    smtp = await rig()

    async def broken() -> bool:
        raise Backpressure(RedisCause.DOWN)

    with pytest.raises(Backpressure):
        await smtp.pool.send(FROM, a_mail(1), broken)
    assert isinstance(await smtp.send(2), Accepted)
    assert smtp.server.count == 1


@pytest.mark.parametrize("pipelined", [True, False])
async def test_the_caller_is_asked_once_the_recipient_is_accepted(rig: MakeRig, pipelined: bool) -> None:
    smtp = await rig(Script() if pipelined else NOT_PIPELINED)
    seen: list[bytes] = []

    async def before() -> bool:
        seen.extend(smtp.server.commands())
        return True

    await smtp.pool.send(FROM, a_mail(), before)
    assert seen == [b"EHLO", b"MAIL", b"RCPT", *([b"DATA"] if pipelined else [])]
    assert smtp.server.count == 1


async def test_a_cancelled_send_gives_its_connection_up(rig: MakeRig) -> None:
    smtp = await rig(Script(faults=[Fault("body", Reply(550, delay_s=1.0, store=True))]))
    task = asyncio.create_task(smtp.send(1))
    await smtp.server.wait_for(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert smtp.pool.state.open == 0
    assert isinstance(await smtp.send(2), Accepted)
    assert smtp.server.connections == 2


async def test_a_mail_larger_than_the_server_takes_is_refused_without_trying(rig: MakeRig) -> None:
    smtp = await rig(Script(extensions=("SIZE 1000",)))
    outcome = await smtp.send()
    assert isinstance(outcome, Refused)
    assert outcome.failure.cause == "too_large"
    assert b"MAIL" not in smtp.server.commands()


async def test_an_address_outside_ascii_goes_out_under_smtputf8(rig: MakeRig) -> None:
    smtp = await rig()
    assert isinstance(await smtp.send(address="søren@bücher.example"), Accepted)
    (mail,) = smtp.server.mails
    assert mail.recipients == ("søren@xn--bcher-kva.example",)
    assert {"SMTPUTF8", "BODY=8BITMIME"} <= set(mail.mail_options.split())


async def test_an_address_outside_ascii_is_refused_where_smtputf8_is_not_offered(rig: MakeRig) -> None:
    smtp = await rig(Script(extensions=("8BITMIME",)))
    outcome = await smtp.send(address="søren@example.com")
    assert isinstance(outcome, Refused)
    assert outcome.failure.cause == "smtputf8_not_offered"
    assert isinstance(await smtp.send(address="s1@bücher.example"), Accepted)


async def test_a_server_without_extensions_gets_plain_commands(rig: MakeRig) -> None:
    smtp = await rig(Script(extensions=(), faults=[Fault("ehlo", Reply(502, "5.5.1 what?"))]))
    assert isinstance(await smtp.send(), Accepted)
    assert smtp.server.commands()[:3] == [b"EHLO", b"HELO", b"MAIL"]
    assert smtp.server.mails[0].mail_options == ""


async def test_greylisting_defers_and_a_later_attempt_is_the_same_message(rig: MakeRig) -> None:
    """Cases 044, 067."""
    smtp = await rig(Script(greylist_s=0.0))
    first = await smtp.send(1)
    assert isinstance(first, Deferred)
    assert first.failure.enhanced == "4.2.0"
    assert isinstance(await smtp.send(1), Accepted)
    assert [mail.message_id for mail in smtp.server.mails] == ["<1@example.com>"]


async def test_the_copy_after_an_unknown_outcome_carries_the_same_message_id(rig: MakeRig) -> None:
    """Cases 048, 067."""
    smtp = await rig(Script(faults=[Fault("body", Reply(drop=True, store=True))]))
    assert isinstance(await smtp.send(1), Unknown)
    assert isinstance(await smtp.send(1), Accepted)
    assert [mail.message_id for mail in smtp.server.mails] == ["<1@example.com>"] * 2
    assert prepared(a_lead()) == prepared(a_lead())
