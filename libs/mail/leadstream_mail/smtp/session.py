"""One mail transaction on one open connection, with the phase kept by ourselves.

aiosmtplib reports a lost answer to the final dot like any other disconnect, so the commands are issued one by one
here: what fails before the content is written is no delivery; once it was handed to the socket, only the server's
answer decides and its absence is `Unknown`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import NoReturn

import aiosmtplib

from leadstream_mail.addresses import wire_address
from leadstream_mail.build import RawMail
from leadstream_mail.smtp.outcome import (
    Accepted,
    Cause,
    Deferred,
    LeaseLost,
    Outcome,
    Phase,
    Refused,
    Unknown,
    Unreachable,
    failure,
    from_reply,
    unreachable,
)
from leadstream_mail.smtp.reply import clean_line

BeforeData = Callable[[], Awaitable[bool]]

_RESET_TIMEOUT_S = 5.0


class SessionFailed(Exception):
    """The dialogue ended without delivery; `outcome` says what that means for the mail."""

    def __init__(self, outcome: Deferred | Refused | Unreachable) -> None:
        super().__init__(outcome.failure.cause)
        self.outcome = outcome


class StaleConnection(Exception):
    """A kept connection had ended while it was idle: nothing was sent, another connection may do at once."""


def lost_cause(error: Exception) -> Cause:
    """The label for an error of aiosmtplib or the socket that carries no reply."""
    if isinstance(error, TimeoutError):
        return Cause.TIMEOUT
    return Cause.GARBLED if isinstance(error, aiosmtplib.SMTPResponseException) else Cause.LOST


def dot_stuffed(data: bytes) -> bytes:
    """Returns the content with its end mark as it goes on the wire (RFC 5321 section 4.5.2); `data` ends in CRLF."""
    if b"\r\n." in data:
        data = data.replace(b"\r\n.", b"\r\n..")
    if data.startswith(b"."):
        data = b"." + data
    return data + b".\r\n"


class Session:
    """An open, greeted and logged-in connection. Only one task may use it at a time."""

    def __init__(self, client: aiosmtplib.SMTP, data_timeout_s: float) -> None:
        self._client = client
        self._data_timeout_s = data_timeout_s
        self._usable = True
        self.transactions = 0
        self.idle_since_s = 0.0

    @property
    def alive(self) -> bool:
        """False once the connection is closed or out of step; True does not promise that the server still listens."""
        return self._usable and self._client.is_connected

    def abandon(self) -> None:
        """Closes the connection without a word; whatever was in flight on it stays undecided."""
        self._usable = False
        self._client.close()

    async def quit(self, timeout_s: float) -> None:
        """Says good-bye within `timeout_s` and closes."""
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await self._client.quit(timeout=timeout_s)
        self.abandon()

    async def transmit(self, mail_from: str, mail: RawMail, before_data: BeforeData) -> Outcome:
        """Runs MAIL, RCPT, `before_data`, DATA. Raises `StaleConnection` only before `before_data`.

        If it is cancelled, or `before_data` raises, the caller must `abandon` the session.
        """
        fresh = self.transactions == 0
        self.transactions += 1
        try:
            arguments = self._mail_arguments(mail_from, mail)
            await self._command(Phase.MAIL, fresh, b"MAIL", *arguments)
            recipient = wire_address(mail.envelope_to).text.encode()
            await self._command(Phase.RCPT, fresh, b"RCPT", b"TO:<" + recipient + b">")
            if not await before_data():
                await self._reset()
                return LeaseLost()
            await self._command(Phase.DATA, True, b"DATA")
        except SessionFailed as failed:
            await self._reset()
            return failed.outcome
        return await self._body(mail.data)

    def _mail_arguments(self, mail_from: str, mail: RawMail) -> list[bytes]:
        extensions = self._client.esmtp_extensions
        sender = wire_address(mail_from) if mail_from else None
        arguments = [b"FROM:<" + (sender.text.encode() if sender else b"") + b">"]
        limit = extensions.get("size")
        if limit is not None:
            if limit.isdecimal() and 0 < int(limit) < len(mail.data):
                _refuse(Cause.TOO_LARGE)
            arguments.append(b"SIZE=%d" % len(mail.data))
        if mail.needs_smtputf8 or (sender is not None and sender.needs_smtputf8):
            if "smtputf8" not in extensions:
                _refuse(Cause.SMTPUTF8_NOT_OFFERED)
            arguments.append(b"SMTPUTF8")
        if mail.needs_8bitmime and "8bitmime" in extensions:
            arguments.append(b"BODY=8BITMIME")
        return arguments

    async def _command(self, phase: Phase, fresh: bool, verb: bytes, *arguments: bytes) -> None:
        """Issues a command and returns if the server goes along; raises `SessionFailed` or `StaleConnection`."""
        try:
            code, text = await self._client.execute_command(verb, *arguments)
        except (aiosmtplib.SMTPException, OSError) as error:
            self._lost(phase, lost_cause(error), fresh)
        if (code == 354) if phase is Phase.DATA else (200 <= code < 300):
            return
        if code == 421 and not fresh:
            self.abandon()
            raise StaleConnection
        if not 400 <= code < 600:
            self._lost(phase, Cause.GARBLED, True)
        raise SessionFailed(from_reply(phase, verb.decode(), code, text, fresh=fresh))

    def _lost(self, phase: Phase, cause: Cause, fresh: bool) -> NoReturn:
        """A kept connection is stale if it was closed, or if it never answered the first command of the mail."""
        self.abandon()
        if not fresh and (cause is Cause.LOST or (cause is Cause.TIMEOUT and phase is Phase.MAIL)):
            raise StaleConnection from None
        outcome = unreachable(phase, cause) if phase is Phase.MAIL else Deferred(failure(phase, cause))
        raise SessionFailed(outcome) from None

    async def _body(self, data: bytes) -> Outcome:
        protocol = self._client.protocol
        try:
            if protocol is None:
                raise aiosmtplib.SMTPServerDisconnected("lost before the content")
            protocol.write(dot_stuffed(data))
        except aiosmtplib.SMTPServerDisconnected:  # raised before anything was written
            self.abandon()
            return Deferred(failure(Phase.DATA, Cause.LOST))
        try:
            code, text = await protocol.read_response(timeout=self._data_timeout_s)
        except (aiosmtplib.SMTPException, OSError) as error:
            self.abandon()
            return Unknown(failure(Phase.BODY, lost_cause(error)))
        if 200 <= code < 300:
            return Accepted(code, clean_line(text))
        if code == 421 or not 400 <= code < 600:
            self.abandon()
        if not 400 <= code < 600:
            return Unknown(failure(Phase.BODY, Cause.GARBLED, line=text))
        return from_reply(Phase.BODY, "DATA", code, text, fresh=False)

    async def _reset(self) -> None:
        """Readies the connection for the next mail (RFC 5321 section 4.1.1.5), or gives it up."""
        if not self.alive:
            return
        try:
            code, _ = await self._client.execute_command(b"RSET", timeout=_RESET_TIMEOUT_S)
        except (aiosmtplib.SMTPException, OSError):
            code = 0
        if code != 250:
            self.abandon()


def _refuse(cause: Cause) -> NoReturn:
    raise SessionFailed(Refused(failure(Phase.MAIL, cause, permanent=True)))
