"""The receiver on real sockets: 250 when Redis has it and not before, our addresses alone, by SMTP and LMTP."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from leadstream_bounces.intake import MAX_BYTES, Intake
from leadstream_bounces.proofs import addresses_of
from leadstream_bounces.receiver import Receiver
from leadstream_events.errors import ConfigurationError
from leadstream_events.listening import Listen
from leadstream_events.redis_client import connect
from leadstream_events.settings import Settings
from tests.integration.bounces.conftest import ABUSE, BASE, SECRETS, Post
from tests.support.ports import free_port
from tests.support.redis_server import ServerFactory
from tests.support.report_mails import dsn
from tests.support.sent_mail import sent_mail

SMTP, LMTP = Listen("smtp", "127.0.0.1", 0), Listen("lmtp", "127.0.0.1", 0)


@contextlib.asynccontextmanager
async def receiving(intake: Intake, settings: Settings, listen: Listen = SMTP) -> AsyncIterator[Receiver]:
    made = Receiver(listen, intake, addresses_of(settings), hostname="leads.example.com", drain_s=10.0)
    await made.start()
    running = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        made.stop()
        await running


def send(receiver: Receiver, raw: bytes, to: list[str], sender: str = "") -> dict[str, tuple[int, bytes]]:
    """Hands a mail over as a mail server does; returns refused recipients, raises what smtplib raises."""
    kind = smtplib.SMTP if receiver.listen.protocol == "smtp" else smtplib.LMTP
    host, port = (receiver.listen.path, 0) if receiver.listen.path else receiver.address
    with kind(host, port, timeout=60.0) as client:
        return client.sendmail(sender, to, raw)


@pytest.mark.parametrize("kind", ["smtp", "lmtp", "lmtp on a socket in the file system"])
async def test_a_report_is_recorded_before_the_250(post: Post, kind: str, tmp_path: Path) -> None:
    listen = {"smtp": SMTP, "lmtp": LMTP}.get(kind, Listen("lmtp", path=str(tmp_path / "b.sock")))
    mail = await sent_mail(post.client)
    async with receiving(post.intake, post.settings, listen) as receiver:
        await asyncio.to_thread(send, receiver, dsn(post.path(mail), mail.address), [post.path(mail)])
        assert [told.source for told in await post.told()] == [listen.protocol]
        assert await post.suppressed() == {"s1@example.com": "hard bounce 5.1.1"}
    assert not listen.path or not await asyncio.to_thread(Path(listen.path).exists)


async def test_mail_for_anybody_else_is_refused(post: Post) -> None:
    strangers = ["victim@example.com", "bounce@other.example.com", "bounces@leads.example.com", "a@[127.0.0.1]"]
    strangers += ["victim%example.com@leads.example.com", "@leads.example.com:victim@example.com"]
    async with receiving(post.intake, post.settings) as receiver:
        for stranger in strangers:
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                await asyncio.to_thread(send, receiver, dsn(BASE, None), [stranger], "x@example.net")
            assert {code // 100 for code, _ in refused.value.recipients.values()} == {5}
        accepted = await asyncio.to_thread(
            send, receiver, b"Subject: x\r\n\r\nx", [ABUSE, BASE, "v@example.com"], "x@y.z"
        )
    assert list(accepted) == ["v@example.com"]
    assert await post.kept() == ["not_a_bounce"]


async def test_while_redis_is_away_the_sender_keeps_the_mail_and_comes_again(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    place = {"data_dir": tmp_path / "redis", "appendfsync": "always", "port": free_port()}
    server = fresh_server(**place)
    settings = Settings(redis_url=server.url, return_path=BASE)
    client = connect(server.url, timeout_s=5.0)
    found = Post(client, settings, Intake(client, settings, SECRETS))
    mail = await sent_mail(client)
    raw = dsn(found.path(mail), mail.address)
    async with receiving(found.intake, settings) as receiver:
        server.kill()
        with pytest.raises(smtplib.SMTPDataError) as refused:
            await asyncio.to_thread(send, receiver, raw, [found.path(mail)])
        assert refused.value.smtp_code == 451
        fresh_server(**place)
        await asyncio.to_thread(send, receiver, raw, [found.path(mail)])
    assert len(await found.told()) == 1
    await client.aclose()


async def test_what_is_too_large_is_refused_and_long_lines_are_not(post: Post) -> None:
    mail = await sent_mail(post.client)
    long = b"X-Long: " + b"x" * 20_000 + b"\r\n"
    async with receiving(post.intake, post.settings) as receiver:
        with pytest.raises((smtplib.SMTPDataError, smtplib.SMTPSenderRefused)) as refused:
            await asyncio.to_thread(send, receiver, b"x: y\r\n\r\n" + b"y" * 70 * (MAX_BYTES // 69), [BASE])
        assert refused.value.smtp_code == 552
        await asyncio.to_thread(send, receiver, long + dsn(post.path(mail), mail.address), [post.path(mail)])
    assert len(await post.told()) == 1


async def test_more_connections_than_can_be_served_are_told_to_come_later(post: Post) -> None:
    async with receiving(post.intake, post.settings) as receiver, contextlib.AsyncExitStack() as stack:
        greetings = []
        for _ in range(60):
            reader, writer = await asyncio.open_connection(*receiver.address)
            stack.callback(writer.close)
            greetings.append((await asyncio.wait_for(reader.readline(), 60.0))[:3])
        assert greetings == [b"220"] * 50 + [b"421"] * 10


async def test_an_address_that_is_taken_is_named_with_its_setting(post: Post) -> None:
    async with receiving(post.intake, post.settings) as receiver:
        taken = Listen("smtp", *receiver.address)
        other = Receiver(taken, post.intake, addresses_of(post.settings), hostname="x", drain_s=1.0)
        with pytest.raises(ConfigurationError, match=r"LEADSTREAM_BOUNCES_LISTEN: 127\.0\.0\.1:\d+ cannot be had"):
            await other.start()
