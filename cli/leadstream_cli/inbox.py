"""A local SMTP inbox for demos and `up`: takes every mail, delivers none, and counts what came.

Speaks RFC 5321 with PIPELINING, SIZE, 8BITMIME and SMTPUTF8 on 127.0.0.1. A mail counts once its 250 was written. The
latest mails are kept whole; of every mail a line and its count stay, some 500 bytes each, as long as it runs.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header

MAX_MAIL_BYTES = 25 * 1024 * 1024
_MAX_LINE = 4096
_MAX_RECIPIENTS = 1000
_PATH = re.compile(rb"\s*<(?:@[^:>]*:)?([^>]*)>(?:\s+(.*))?", re.DOTALL)
_SIZE = re.compile(rb"(?:^|\s)SIZE=([0-9]{1,15})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail that was accepted. `arrived_s` is on the loop's clock, `at` on the wall's."""

    number: int
    message_id: str
    lead_id: str
    subject: str
    sender: str
    recipients: tuple[str, ...]
    size: int
    arrived_s: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Counts:
    """`distinct` counts (Message-ID, recipient) pairs; `doubled` the arrivals beyond one of each."""

    mails: int
    distinct: int
    doubled: int


@dataclass(slots=True)
class Inbox:
    """What has arrived. `copies` counts arrivals per (Message-ID, recipient); `on_arrival` hears of each mail."""

    keep: int = 1000
    on_arrival: Callable[[Mail], None] | None = None
    mails: list[Mail] = field(default_factory=list)
    copies: Counter[tuple[str, str]] = field(default_factory=Counter)
    _raw: deque[tuple[int, bytes]] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, sender: str, recipients: tuple[str, ...], data: bytes) -> Mail:
        """Stores one mail and wakes whoever waits."""
        head = message_from_bytes(data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        mail = Mail(
            number=len(self.mails) + 1,
            message_id=str(head.get("Message-ID", "")).strip(),
            lead_id=str(head.get("X-Leadstream-Lead", "")).strip(),
            subject=_decoded(str(head.get("Subject", ""))),
            sender=sender,
            recipients=recipients,
            size=len(data),
            arrived_s=asyncio.get_running_loop().time(),
            at=datetime.now(UTC),
        )
        self.mails.append(mail)
        self.copies.update((mail.message_id, recipient) for recipient in recipients)
        self._raw.append((mail.number, data))
        if len(self._raw) > self.keep:
            self._raw.popleft()
        self._arrived.set()
        if self.on_arrival:
            self.on_arrival(mail)
        return mail

    def raw(self, number: int) -> bytes | None:
        """The mail as it came, if it is among the latest ones."""
        return next((data for kept, data in self._raw if kept == number), None)

    def counts(self) -> Counts:
        """The totals."""
        arrivals = sum(self.copies.values())
        return Counts(len(self.mails), len(self.copies), arrivals - len(self.copies))

    async def wait_for(self, holds: Callable[[Inbox], bool]) -> None:
        """Returns once the condition holds; it is looked at after every arrival."""
        while not holds(self):
            self._arrived.clear()
            await self._arrived.wait()


def _decoded(value: str) -> str:
    """A header as people read it (RFC 2047)."""
    try:
        return str(make_header(decode_header(value))).replace("\r\n", "")
    except (LookupError, UnicodeError, ValueError):
        return value


class Session(asyncio.Protocol):
    """One SMTP session: commands end in CRLF and data in CRLF.CRLF, nothing else does (no smuggling)."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._buffer = bytearray()
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._in_data = False
        self._searched = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a stream protocol gets a stream transport
        self._transport = transport
        self._reply(b"220 leadstream inbox ESMTP")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._transport.is_closing() and (self._take_mail() if self._in_data else self._take_line()):
            pass

    def _reply(self, line: bytes) -> None:
        self._transport.write(line + b"\r\n")

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0 or end > _MAX_LINE:
            if len(self._buffer) > _MAX_LINE:
                self._reply(b"500 5.5.2 line too long")
                self._transport.close()
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        verb, _, rest = line.partition(b" ")
        handle = _COMMANDS.get(verb.upper())
        if handle is None:
            self._reply(b"500 5.5.1 unknown command")
        else:
            handle(self, rest)
        return True

    def _take_mail(self) -> bool:
        """The buffer starts with the CRLF that ended DATA, so an empty mail ends like any other."""
        end = self._buffer.find(b"\r\n.\r\n", self._searched)
        if end < 0:
            self._searched = max(0, len(self._buffer) - 4)
            if len(self._buffer) > MAX_MAIL_BYTES + 1024:
                self._reply(b"552 5.3.4 mail too big")
                self._transport.close()
            return False
        data = bytes(self._buffer[: end + 2]).replace(b"\r\n..", b"\r\n.")[2:]
        del self._buffer[: end + 5]
        mail = self._inbox.take(self._sender or "", tuple(self._recipients), data)
        self._reset()
        self._reply(b"250 2.0.0 stored as %d" % mail.number)
        return True

    def _reset(self) -> None:
        self._sender, self._recipients, self._in_data, self._searched = None, [], False, 0

    def _hello(self, _: bytes) -> None:
        self._reset()
        features = (b"PIPELINING", b"SIZE %d" % MAX_MAIL_BYTES, b"8BITMIME", b"SMTPUTF8", b"ENHANCEDSTATUSCODES")
        self._reply(b"250-leadstream inbox\r\n" + b"\r\n".join(b"250-" + f for f in features) + b"\r\n250 HELP")

    def _helo(self, _: bytes) -> None:
        self._reset()
        self._reply(b"250 leadstream inbox")

    def _mail(self, rest: bytes) -> None:
        found = _PATH.fullmatch(rest[5:]) if rest[:5].upper() == b"FROM:" else None
        size = _SIZE.search(found[2] or b"") if found else None
        if found is None:
            self._reply(b"501 5.5.4 MAIL FROM:<address>")
        elif self._sender is not None:
            self._reply(b"503 5.5.1 one MAIL at a time")
        elif size and int(size[1]) > MAX_MAIL_BYTES:
            self._reply(b"552 5.3.4 mail too big")
        else:
            self._sender = found[1].decode("utf-8", "replace")
            self._reply(b"250 2.1.0 ok")

    def _rcpt(self, rest: bytes) -> None:
        found = _PATH.fullmatch(rest[3:]) if rest[:3].upper() == b"TO:" else None
        if self._sender is None:
            self._reply(b"503 5.5.1 MAIL first")
        elif found is None or not found[1]:
            self._reply(b"501 5.5.4 RCPT TO:<address>")
        elif len(self._recipients) >= _MAX_RECIPIENTS:
            self._reply(b"452 4.5.3 too many recipients")
        else:
            self._recipients.append(found[1].decode("utf-8", "replace"))
            self._reply(b"250 2.1.5 ok")

    def _data(self, _: bytes) -> None:
        if not self._recipients:
            self._reply(b"503 5.5.1 RCPT first")
            return
        self._buffer[:0] = b"\r\n"
        self._in_data, self._searched = True, 0
        self._reply(b"354 end with CRLF.CRLF")

    def _rset(self, _: bytes) -> None:
        self._reset()
        self._reply(b"250 2.0.0 ok")

    def _noop(self, _: bytes) -> None:
        self._reply(b"250 2.0.0 ok")

    def _vrfy(self, _: bytes) -> None:
        self._reply(b"252 2.5.0 send it and see")

    def _quit(self, _: bytes) -> None:
        self._reply(b"221 2.0.0 bye")
        self._transport.close()


_COMMANDS: dict[bytes, Callable[[Session, bytes], None]] = {
    b"EHLO": Session._hello,
    b"HELO": Session._helo,
    b"MAIL": Session._mail,
    b"RCPT": Session._rcpt,
    b"DATA": Session._data,
    b"RSET": Session._rset,
    b"NOOP": Session._noop,
    b"VRFY": Session._vrfy,
    b"HELP": Session._vrfy,
    b"QUIT": Session._quit,
}


async def listen(inbox: Inbox, port: int = 0) -> asyncio.Server:
    """Starts to listen on 127.0.0.1; `port` 0 takes a free one. OSError when the port is taken."""
    return await asyncio.get_running_loop().create_server(lambda: Session(inbox), "127.0.0.1", port)


def port_of(server: asyncio.Server) -> int:
    """The port a server listens on."""
    return int(server.sockets[0].getsockname()[1])
