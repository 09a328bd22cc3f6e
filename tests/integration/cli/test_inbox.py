"""The local inbox over real sockets: takes mail as RFC 5321 says, and shows it to other processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from leadstream_cli.inbox import Inbox, listen, port_of
from leadstream_cli.inbox_http import listen_http
from tests.support.ports import free_port

MAIL = (
    b"Message-ID: <1@example.com>\r\nX-Leadstream-Lead: l1\r\n"
    b"Subject: =?utf-8?q?Jos=C3=A9?=\r\n\r\nhello\r\n..dot\r\n.\r\n"
)


class Client:
    """A bare SMTP client: what it sends is what goes over the wire."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> bytes:
        lines = [await self.reader.readline()]
        while lines[-1][3:4] == b"-":
            lines.append(await self.reader.readline())
        return b"".join(lines)

    async def say(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reply()


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox(keep=2)


@pytest.fixture
async def client(inbox: Inbox) -> AsyncIterator[Client]:
    server = await listen(inbox)
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    made = Client(reader, writer)
    assert (await made.reply()).startswith(b"220 ")
    yield made
    writer.close()
    server.close()


async def send(client: Client, data: bytes = MAIL, to: bytes = b"ann@example.com") -> bytes:
    assert (await client.say(b"MAIL FROM:<leads@example.com> BODY=8BITMIME\r\n")).startswith(b"250 ")
    assert (await client.say(b"RCPT TO:<" + to + b">\r\n")).startswith(b"250 ")
    assert (await client.say(b"DATA\r\n")).startswith(b"354 ")
    return await client.say(data)


async def test_a_mail_is_kept_as_it_was_meant_and_counted(client: Client, inbox: Inbox) -> None:
    assert b"PIPELINING" in await client.say(b"EHLO test\r\n")
    assert (await send(client)).startswith(b"250 2.0.0")
    (mail,) = inbox.mails
    assert (mail.message_id, mail.lead_id, mail.subject) == ("<1@example.com>", "l1", "José")
    assert mail.recipients == ("ann@example.com",)
    assert (inbox.raw(1) or b"").endswith(b"hello\r\n.dot\r\n")
    assert inbox.counts().doubled == 0
    await send(client)
    assert (inbox.counts().mails, inbox.counts().distinct, inbox.counts().doubled) == (2, 1, 1)


async def test_pipelined_commands_are_answered_in_order(client: Client, inbox: Inbox) -> None:
    await client.say(b"EHLO test\r\n")
    client.writer.write(b"MAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
    assert [(await client.reply())[:3] for _ in range(4)] == [b"250", b"250", b"250", b"354"]
    client.writer.write(MAIL + b"NOOP\r\nQUIT\r\n")
    assert [(await client.reply())[:3] for _ in range(3)] == [b"250", b"250", b"221"]
    assert inbox.mails[0].recipients == ("a@example.com", "b@example.com")
    assert inbox.counts().mails == 1
    assert inbox.counts().distinct == 2


async def test_only_crlf_dot_crlf_ends_a_mail(client: Client, inbox: Inbox) -> None:
    smuggled = b"Subject: x\r\n\r\nbody\n.\nMAIL FROM:<evil@example.com>\r\n.\n\r\n.\r\n"
    assert (await send(client, smuggled)).startswith(b"250 ")
    assert len(inbox.mails) == 1
    assert b"evil" in (inbox.raw(1) or b"")


async def test_an_empty_mail_ends_like_any_other(client: Client, inbox: Inbox) -> None:
    assert (await send(client, b".\r\n")).startswith(b"250 ")
    assert inbox.raw(1) == b""


async def test_a_mail_that_comes_byte_by_byte_is_taken_whole(client: Client, inbox: Inbox) -> None:
    await client.say(b"EHLO test\r\n")
    for byte in b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n" + MAIL:
        client.writer.write(bytes([byte]))
        await client.writer.drain()
    assert [(await client.reply())[:3] for _ in range(4)] == [b"250", b"250", b"354", b"250"]
    assert (inbox.raw(1) or b"").endswith(b"hello\r\n.dot\r\n")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"RCPT TO:<a@example.com>\r\n", b"503"),
        (b"DATA\r\n", b"503"),
        (b"MAIL nonsense\r\n", b"501"),
        (b"MAIL FROM:<a@example.com> SIZE=999999999\r\n", b"552"),
        (b"FROBNICATE\r\n", b"500"),
        (b"x" * 5000 + b"\r\n", b"500"),
    ],
)
async def test_wrong_commands_get_their_code(client: Client, line: bytes, code: bytes) -> None:
    assert (await client.say(line))[:3] == code


async def test_waiting_ends_with_the_mail_that_was_waited_for(client: Client, inbox: Inbox) -> None:
    waiting = asyncio.create_task(inbox.wait_for(lambda box: len(box.mails) == 2))
    await send(client)
    assert not waiting.done()
    await send(client)
    await asyncio.wait_for(waiting, 5)


async def get(port: int, target: str, host: str = "127.0.0.1") -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.split(b" ")[1], body


async def test_other_processes_read_counts_and_mails_over_http(client: Client, inbox: Inbox) -> None:
    for _ in range(3):
        await send(client)
    server = await listen_http(inbox, free_port())
    port = port_of(server)
    assert json.loads((await get(port, "/counts"))[1]) == {"mails": 3, "distinct": 1, "doubled": 2}
    listed = json.loads((await get(port, "/mails?limit=2"))[1])
    assert [mail["number"] for mail in listed] == [2, 3]
    assert (await get(port, "/mails/3"))[1] == inbox.raw(3)
    assert (await get(port, "/mails/1"))[0] == b"404"  # only the latest two are kept whole
    assert (await get(port, "/mails/x"))[0] == b"404"
    assert (await get(port, "/counts", host="evil.example.com"))[0] == b"403"
    server.close()
