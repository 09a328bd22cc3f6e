"""Reports from a mailbox: each once, moved when Redis has it, and left where they are while it has not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from leadstream_bounces.intake import Intake
from leadstream_bounces.mailbox import HANDLED, MailboxPoller, open_mailbox
from leadstream_events.errors import ConfigurationError
from leadstream_events.redis_client import connect
from leadstream_events.settings import Settings, load_settings
from tests.integration.bounces.conftest import BASE, SECRETS, Post
from tests.support.imap_server import ImapServer
from tests.support.redis_server import ServerFactory
from tests.support.report_mails import dsn
from tests.support.sent_mail import sent_mail
from tests.support.waiting import eventually


def poller(server: ImapServer, intake: Intake, folder: Path, *, every_s: float = 0.05) -> MailboxPoller:
    password = folder / "password"
    password.write_text("secret\n")
    url = f"imap://bounce%40leads.example.com@127.0.0.1:{server.port}/INBOX"
    settings = Settings(bounces_imap_url=url, bounces_imap_password_file=password)
    return MailboxPoller(open_mailbox(settings), intake, every_s)


@pytest.mark.parametrize("capabilities", [("MOVE", "UIDPLUS"), ("UIDPLUS",), ()], ids=["move", "uidplus", "bare"])
async def test_each_mail_is_taken_once_and_moved_out_of_the_way(
    post: Post, tmp_path: Path, capabilities: Sequence[str]
) -> None:
    mail = await sent_mail(post.client)
    async with ImapServer(capabilities=capabilities) as server:
        for raw in (dsn(post.path(mail), mail.address), b"To: bounce@leads.example.com\r\nSubject: hello\r\n\r\nx"):
            server.put(raw)
        fetched = poller(server, post.intake, tmp_path)
        assert [await fetched.poll() for _ in range(3)] == [2, 0, 0]
        assert [told.source for told in await post.told()] == ["imap"]
        assert await post.suppressed() == {"s1@example.com": "hard bounce 5.1.1"}
        assert await post.kept() == ["not_a_bounce"]
        assert len(server.folders[HANDLED]) == 2
        left = server.folders["INBOX"]
        assert all(r"\Deleted" in item.flags for item in left.values())
        assert bool(left) is (not capabilities)


async def test_a_mailbox_that_is_read_again_after_a_crash_changes_nothing(post: Post, tmp_path: Path) -> None:
    mail = await sent_mail(post.client)
    async with ImapServer() as server:
        for _ in range(2):
            server.put(dsn(post.path(mail), mail.address, status="4.2.2"))
        assert await poller(server, post.intake, tmp_path).poll() == 2
    assert len(await post.told()) == 1


async def test_mails_stay_in_the_mailbox_while_redis_is_away(fresh_server: ServerFactory, tmp_path: Path) -> None:
    redis = fresh_server()
    client = connect(redis.url, timeout_s=5.0)
    intake = Intake(client, Settings(redis_url=redis.url, return_path=BASE), SECRETS)
    async with ImapServer() as server:
        server.put(b"To: bounce@leads.example.com\r\nSubject: hello\r\n\r\nx")
        redis.kill()
        assert await poller(server, intake, tmp_path).poll() == 0
        assert len(server.folders["INBOX"]) == 1
        assert HANDLED not in server.folders
    await client.aclose()


async def test_a_refused_login_is_tried_again_and_names_nobody(
    post: Post, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with ImapServer(password="another") as server:
        server.put(b"To: bounce@leads.example.com\r\n\r\nx")
        fetched = poller(server, post.intake, tmp_path)
        running = asyncio.create_task(fetched.run())

        async def refused() -> bool:
            return server.commands.count("LOGIN") >= 2

        await eventually(refused, "two logins")
        server.password = "secret"

        async def taken() -> bool:
            return len(server.folders.get(HANDLED, {})) == 1

        await eventually(taken, "the mail to be taken")
        fetched.stop()
        await running
    out = "".join(capfd.readouterr())
    assert "AUTHENTICATIONFAILED" in out
    assert "leads.example.com" not in out


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://x", "must be imaps"),
        ("imaps://host/INBOX", "must be imaps"),
        ("imaps://me:word@host", "must hold no password"),
        ("imap://me@imap.example.com", "must be imaps://: without TLS"),
        ("imaps://me@host:99999", "has a port"),
        ("imaps://me@host/a%0Ab", "must name a folder"),
        ('imaps://me@host/a"b', "must name a folder"),
    ],
)
def test_a_mailbox_that_cannot_be_one_is_refused_by_name(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"LEADSTREAM_BOUNCES_IMAP_URL: {says}"):
        load_settings(bounces_imap_url=url)


def test_a_password_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = Settings(bounces_imap_url="imaps://me@host/INBOX")
    with pytest.raises(ConfigurationError, match="LEADSTREAM_BOUNCES_IMAP_PASSWORD_FILE: set it"):
        open_mailbox(settings)
    absent = settings.model_copy(update={"bounces_imap_password_file": tmp_path / "absent"})
    with pytest.raises(ConfigurationError, match="absent cannot be read: No such file"):
        open_mailbox(absent)
