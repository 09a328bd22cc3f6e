"""Commands in groups (RFC 2920): fewer writes, and every reply still belongs to the one command that it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from leadstream_mail.smtp.outcome import Accepted, Deferred, LeaseLost, Refused, Unknown
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mail.smtp.replies import MAX_LINE_BYTES, MAX_REPLY_BYTES, Replies
from tests.integration.smtp.conftest import FROM, MakeRig, a_mail, yes
from tests.support.smtp_server import Fault, Reply, Script

EHLO = b"250-here\r\n250 PIPELINING\r\n"


class Scribe:
    """Answers the n-th read after EHLO with the n-th of `answers`, whatever it was; keeps what it read."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self.reads: list[bytes] = []
        self._answers = [*answers]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        await reader.readline()
        writer.write(EHLO)
        while self._answers and (data := await reader.read(100_000)):
            self.reads.append(data)
            writer.write(self._answers.pop(0))
        await reader.read(100_000)  # until the client leaves
        writer.close()


@asynccontextmanager
async def scribe(*answers: bytes) -> AsyncIterator[tuple[Scribe, SmtpPool]]:
    made = Scribe(answers)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        pool = SmtpPool(url, connections=1, timeout_s=5.0, data_timeout_s=5.0)
        try:
            yield made, pool
        finally:
            await pool.close()


def verbs(data: bytes) -> list[bytes]:
    """The commands in what was read; the content between them left out."""
    known = (b"MAIL", b"RCPT", b"DATA", b"RSET", b".")
    return [line.split(b" ")[0] for line in data.split(b"\r\n") if line.split(b" ")[0] in known]


async def test_a_mail_takes_two_writes() -> None:
    async with scribe(b"250 ok\r\n250 ok\r\n354 go\r\n", b"250 taken\r\n") as (server, pool):
        assert await pool.send(FROM, a_mail(), yes) == Accepted(250, "taken")
        assert [verbs(read) for read in server.reads] == [[b"MAIL", b"RCPT", b"DATA"], [b"."]]


async def test_the_next_mail_goes_along_with_the_content_of_this_one() -> None:
    answers = [b"250 ok\r\n250 ok\r\n354 go\r\n", *[b"250 one\r\n250 ok\r\n250 ok\r\n354 go\r\n"] * 2, b"250 last\r\n"]
    async with scribe(*answers) as (server, pool):
        outcomes = await asyncio.gather(*(pool.send(FROM, a_mail(number), yes) for number in (1, 2, 3)))
        assert outcomes == [Accepted(250, "one"), Accepted(250, "one"), Accepted(250, "last")]
        group = [b".", b"MAIL", b"RCPT", b"DATA"]
        assert [verbs(read) for read in server.reads] == [group[1:], group, group, [b"."]]


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_replies_in_pieces_are_put_together(size: int) -> None:
    """Cases 056, 057: a reply may come byte by byte."""
    replies = b"250-first\r\n250 2.1.0 ok\r\n250 ok\r\n354 go\r\n250-2.0.0 taken\r\n250 in full\r\n"
    reader = Replies()
    found = [reply for at in range(0, len(replies), size) for reply in reader.feed(replies[at : at + size])]
    assert found == [
        (250, b"first\n2.1.0 ok"),
        (250, b"ok"),
        (354, b"go"),
        (250, b"2.0.0 taken\nin full"),
    ]
    assert reader.empty
    assert not reader.garbled


@pytest.mark.parametrize(
    "flood", [b"x" * (MAX_LINE_BYTES + 1), b"250-" + b"y" * 200 + b"\r\n", b"\xff\xfe\x00\r\n", b"\r\n", b"25\r\n"]
)
def test_what_is_no_reply_is_never_kept_without_bound(flood: bytes) -> None:
    reader = Replies()
    for _ in range(MAX_REPLY_BYTES // len(flood) + 2):
        assert reader.feed(flood) == []
        if reader.garbled:
            break
    assert reader.garbled


async def test_replies_before_the_garbage_count() -> None:
    async with scribe(b"250 ok\r\n550 5.1.1 no\r\n\xff\xff\r\n") as (_, pool):
        outcome = await pool.send(FROM, a_mail(), yes)
        assert isinstance(outcome, Refused)
        assert outcome.failure.cause == "user_unknown"


async def test_content_that_a_server_asks_for_without_a_recipient_is_a_lone_dot(rig: MakeRig) -> None:
    """RFC 2920 section 3.1; nothing counts as sent, whatever the server says to the dot."""
    faults = [Fault("rcpt", Reply(550, "5.1.1 no")), Fault("data", Reply(354, "go")), Fault("body", Reply(250))]
    smtp = await rig(Script(faults=faults))
    outcome = await smtp.send(1)
    assert isinstance(outcome, Refused)
    assert smtp.before == 0
    assert isinstance(await smtp.send(2), Accepted)
    assert smtp.server.connections == 1
    assert [mail.recipients for mail in smtp.server.mails if mail.recipients] == [("s2@example.com",)]


async def test_a_server_that_wants_content_after_refusing_the_sender_is_left() -> None:
    async with scribe(b"550 5.7.1 no\r\n250 ok\r\n354 go\r\n") as (server, pool):
        assert isinstance(await pool.send(FROM, a_mail(), yes), Refused)
        assert len(server.reads) == 1
        assert pool.state.open == 0


async def test_a_reply_that_nobody_asked_for_ends_the_connection_and_no_mail() -> None:
    async with scribe(b"250 ok\r\n250 ok\r\n354 go\r\n", b"250 taken\r\n250 and more\r\n") as (_, pool):
        assert await pool.send(FROM, a_mail(), yes) == Accepted(250, "taken")
        assert pool.state.open == 0


async def test_a_mail_behind_one_that_gets_no_answer_goes_by_another_connection(rig: MakeRig) -> None:
    smtp = await rig(Script(faults=[Fault("body", Reply(drop=True, store=True))]))
    outcomes = await smtp.send_many(range(1, 6))
    assert [type(outcome) for outcome in outcomes] == [Unknown, *[Accepted] * 4]
    assert smtp.before == 5
    assert sorted(smtp.server.message_ids.values()) == [1] * 5


async def test_a_farewell_after_a_content_defers_one_mail_only(rig: MakeRig) -> None:
    smtp = await rig(Script(faults=[Fault("body", Reply(421, "4.3.2 going down", close=True))]))
    outcomes = await smtp.send_many(range(1, 6))
    assert [type(outcome) for outcome in outcomes] == [Deferred, *[Accepted] * 4]
    assert (smtp.server.count, smtp.before) == (4, 5)


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "body"])
async def test_a_refusal_in_the_middle_of_a_group_concerns_its_own_mail(rig: MakeRig, phase: str) -> None:
    smtp = await rig(Script(faults=[Fault(phase, Reply(550, "5.1.1 no"), mail=3)]))
    outcomes = await smtp.send_many(range(1, 9))
    assert [type(outcome) for outcome in outcomes].count(Refused) == 1
    assert smtp.server.count == 7
    assert smtp.server.connections == 1


async def test_a_mail_withdrawn_after_the_server_asked_for_it_is_not_sent(rig: MakeRig) -> None:
    """Only closing the connection says so; the mails behind it go by another one."""
    smtp = await rig()

    async def no() -> bool:
        return False

    first = asyncio.create_task(smtp.pool.send(FROM, a_mail(1), no))
    others = await smtp.send_many(range(2, 6))
    assert await first == LeaseLost()
    assert {type(outcome) for outcome in others} == {Accepted}
    assert sorted(mail.recipients[0] for mail in smtp.server.mails) == [f"s{n}@example.com" for n in range(2, 6)]


async def test_cancelling_a_mail_does_not_touch_the_one_before_it_on_the_same_connection(rig: MakeRig) -> None:
    smtp = await rig(Script(faults=[Fault("body", Reply(250, "2.0.0 slow", delay_s=1.0), mail=1)]))
    tasks = [asyncio.create_task(smtp.send(number)) for number in range(1, 5)]
    await smtp.server.wait_for(1)
    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert [type(outcome) for outcome in outcomes[:1] + outcomes[2:]] == [Accepted] * 3
    assert [mail.recipients[0] for mail in smtp.server.mails] == ["s1@example.com", "s3@example.com", "s4@example.com"]
    assert smtp.pool.state.waiting == 0
