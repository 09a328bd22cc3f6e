"""Takes reports by SMTP (RFC 5321) and LMTP (RFC 2033): accepts mail for our addresses only and sends nothing on.

A 250 after the content means that Redis has the report, or the mail for a person. Whatever keeps that from happening
is a 4xx: the sending server keeps the mail and comes again, and a mail that it sends again changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session
from structlog.stdlib import get_logger

from leadstream_bounces import metrics
from leadstream_bounces.intake import MAX_BYTES, Intake
from leadstream_bounces.proofs import Addresses, Incoming
from leadstream_events.errors import ConfigurationError
from leadstream_events.listening import Listen
from leadstream_events.redis_client import classify

logger = get_logger("leadstream.bounces")

# Reports quote lines of any length, and a refusal for one would lose them (RFC 5321 allows 1,000 octets).
_LONGEST_LINE = 65_536
_IDLE_S = 60.0
_MOST_CONNECTIONS = 50
_MOST_RECIPIENTS = 20
_SOCKET_MODE = 0o660


class Handler:
    """What the protocol asks: may this recipient have mail, and has the mail been taken?"""

    def __init__(self, intake: Intake, addresses: Addresses, source: str) -> None:
        self._intake, self._addresses, self._source = intake, addresses, source
        self.at_work = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def handle_RCPT(  # noqa: N802  -- the library's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Our addresses alone, so that this is no open relay and no dustbin."""
        if not self._addresses.ours(address):
            metrics.REFUSED.labels(self._source, "not_ours").inc()
            return "550 5.1.1 no such address here"
        if len(envelope.rcpt_tos) >= _MOST_RECIPIENTS:
            return "452 4.5.3 too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """250 once Redis has it; LMTP gets one reply per recipient (RFC 2033 section 4.2)."""
        self.at_work += 1
        self.idle.clear()
        try:
            status = await self._take(envelope)
        finally:
            self.at_work -= 1
            if not self.at_work:
                self.idle.set()
        return "\r\n".join([status] * len(envelope.rcpt_tos)) if self._source == "lmtp" else status

    async def handle_exception(self, error: Exception) -> str:
        """A bug: the sender keeps the mail, and the log says where, without the content."""
        logger.error("a mail could not be taken", error=type(error).__name__)
        metrics.REFUSED.labels(self._source, "error").inc()
        return "451 4.3.0 the mail could not be taken; try again later"

    async def _take(self, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        try:
            await self._intake.take(Incoming(content, tuple(envelope.rcpt_tos), self._source))
        except Exception as error:
            trouble = classify(error)
            if trouble is None:
                raise
            logger.warning("a mail is not taken now", redis=trouble.cause.value)
            metrics.REFUSED.labels(self._source, trouble.cause.value).inc()
            return "451 4.3.0 the store cannot take it now; try again later"
        return "250 2.0.0 taken"


class _Busy(asyncio.Protocol):
    """Turns a connection away when there are more than can be served."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101  -- what servers make
        transport.write(b"421 4.3.2 too many connections; try again later\r\n")
        transport.close()


class _Counted:
    """Mixed into the library's protocols: knows which connections are open."""

    line_length_limit = _LONGEST_LINE
    open: set[Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.open.add(self)
        metrics.CONNECTIONS.set(len(self.open))
        super().connection_made(transport)  # type: ignore[misc]

    def connection_lost(self, error: Exception | None) -> None:
        self.open.discard(self)
        metrics.CONNECTIONS.set(len(self.open))
        super().connection_lost(error)  # type: ignore[misc]


class _Smtp(_Counted, SMTP):
    pass


class _Lmtp(_Counted, LMTP):
    pass


class Receiver:
    """Listens on one address. `stop` ends the listening; mails that are being taken end first."""

    def __init__(self, listen: Listen, intake: Intake, addresses: Addresses, *, hostname: str, drain_s: float) -> None:
        self.listen, self._hostname, self._drain_s = listen, hostname, drain_s
        self._handler = Handler(intake, addresses, listen.protocol)
        self._stopping = asyncio.Event()
        self._open: set[Any] = set()
        self._server: asyncio.Server | None = None
        # The library logs every command, and addresses stand in commands.
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)

    async def start(self) -> None:
        """Binds; `ConfigurationError` when the address cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            if self.listen.path:
                self._server = await loop.create_unix_server(self._protocol, self._free_path())
                _let_group_write(self.listen.path)
            else:
                self._server = await loop.create_server(self._protocol, self.listen.host, self.listen.port)
        except OSError as error:
            raise ConfigurationError(
                f"LEADSTREAM_BOUNCES_LISTEN: {self.listen} cannot be had: {error.strerror or type(error).__name__}"
            ) from None
        logger.info("listening", protocol=self.listen.protocol, at=self.listen.path or self.address)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that were really bound."""
        assert self._server is not None  # noqa: S101  -- after `start`
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def run(self) -> None:
        """Serves until `stop`."""
        assert self._server is not None  # noqa: S101  -- the wiring has called `start`
        await self._stopping.wait()
        self._server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                await self._handler.idle.wait()
        for protocol in list(self._open):
            with suppress(Exception):  # a connection that is gone already
                protocol.transport.write(b"421 4.3.2 shutting down\r\n")
                protocol.transport.close()
        self._free_path()

    def stop(self) -> None:
        """Asks `run` to end."""
        self._stopping.set()

    def _protocol(self) -> asyncio.Protocol:
        if len(self._open) >= _MOST_CONNECTIONS:
            return _Busy()
        kind = _Smtp if self.listen.protocol == "smtp" else _Lmtp
        made = kind(
            self._handler,
            data_size_limit=MAX_BYTES,
            enable_SMTPUTF8=True,
            hostname=self._hostname,
            ident="leadstream bounces",
            timeout=_IDLE_S,
            command_call_limit={"*": 1000},
            loop=asyncio.get_running_loop(),
        )
        made.open = self._open
        protocol: asyncio.Protocol = made
        return protocol

    def _free_path(self) -> str:
        """A socket that a process which died left behind is in the way of nobody."""
        path = Path(self.listen.path)
        if self.listen.path and path.is_socket():
            path.unlink()
        return self.listen.path


def _let_group_write(path: str) -> None:
    """The mail server that connects runs as another user; the folder says who gets there."""
    Path(path).chmod(_SOCKET_MODE)


def receivers(
    listens: Sequence[Listen], intake: Intake, addresses: Addresses, *, hostname: str, drain_s: float
) -> list[Receiver]:
    """One per address; nothing is bound yet."""
    return [Receiver(listen, intake, addresses, hostname=hostname, drain_s=drain_s) for listen in listens]
