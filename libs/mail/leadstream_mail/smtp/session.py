"""Mail transactions on one open connection, with the phase kept by ourselves.

What fails before the content is written is no delivery; once it was handed to the socket, only the server's answer
decides and its absence is `Unknown`.

Where the server offers PIPELINING (RFC 2920), MAIL, RCPT and DATA go out in one write, and the next mail's go out
together with the content of this one. Every reply is matched to its command in order. Elsewhere each command awaits
the reply to the one before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

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
    failure,
    from_reply,
)
from leadstream_mail.smtp.reply import clean_line
from leadstream_mail.smtp.transaction import PHASES, SessionFailed, Signal, Step, Transaction, ended, undelivered
from leadstream_mail.smtp.wire import Wire

BeforeData = Callable[[], Awaitable[bool]]
# Returns the commands of a mail that may follow on the same connection, or nothing.
Follow = Callable[["Session"], bytes]


def dot_stuffed(data: bytes) -> bytes:
    """Returns the content with its end mark as it goes on the wire (RFC 5321 section 4.5.2); `data` ends in CRLF."""
    if b"\r\n." in data:
        data = data.replace(b"\r\n.", b"\r\n..")
    if data.startswith(b"."):
        data = b"." + data
    return data + b".\r\n"


class Session(Wire):
    """An open, greeted and logged-in connection.

    At most one mail's content and the commands of the next are under way at a time. `extensions` are those of EHLO,
    names in lower case. `timeout_s` bounds every reply but the one to the content, for which it is `data_timeout_s`.
    """

    def __init__(
        self, transport: asyncio.Transport, extensions: Mapping[str, str], timeout_s: float, data_timeout_s: float
    ) -> None:
        super().__init__(transport, timeout_s, data_timeout_s)
        self._extensions = extensions
        self._pipelining = "pipelining" in extensions
        self._leaving = False
        self._open: list[Transaction] = []
        self._parted: asyncio.Future[None] | None = None
        self.transactions = 0
        self.idle_since_s = 0.0

    @property
    def alive(self) -> bool:
        """False once the connection is closed or out of step; True does not promise that the server still listens."""
        return self._usable and not self._leaving and not self._transport.is_closing()

    @property
    def busy(self) -> bool:
        """True while a mail is under way on it."""
        return bool(self._open)

    async def quit(self, timeout_s: float) -> None:
        """Says good-bye within `timeout_s` and closes."""
        if self.alive and not self._awaited:
            self._parted = self._loop.create_future()
            self._write(b"QUIT\r\n", (Step.QUIT, None))
            await asyncio.wait((self._parted,), timeout=timeout_s)
        self.abandon()

    # -- one mail -----------------------------------------------------------------------------------------------

    def prepare(self, mail_from: str, mail: RawMail) -> tuple[Transaction, bytes]:
        """Returns a mail's transaction, and the commands to write for it now.

        `SessionFailed` where this server can never take it, and `Permanent` if `mail_from` has no safe spelling:
        nothing is begun then.
        """
        command = self._mail_command(mail_from, mail)
        rcpt = b"RCPT TO:<" + wire_address(mail.envelope_to).text.encode() + b">\r\n"
        transaction = Transaction(command, rcpt, mail.data, fresh=self.transactions == 0)
        self.transactions += 1
        self._open.append(transaction)
        if not self._pipelining:
            self._await((Step.MAIL, transaction))
            return transaction, command
        self._await((Step.MAIL, transaction), (Step.RCPT, transaction), (Step.DATA, transaction))
        return transaction, command + rcpt + b"DATA\r\n"

    def begin(self, mail_from: str, mail: RawMail) -> Transaction:
        """Prepares a mail and writes its commands."""
        transaction, commands = self.prepare(mail_from, mail)
        if not self._transport.is_closing():
            self._transport.write(commands)
        return transaction

    async def transmit(
        self, transaction: Transaction, before_data: BeforeData, follow: Follow | None = None
    ) -> Outcome | Signal:
        """Brings a mail that was begun to its end. `Signal.STALE` comes only before `before_data` is awaited.

        `before_data` is awaited once RCPT was accepted and before any content is written; where it says no after the
        server has asked for the content, only closing the connection leaves the mail unsent. If this is cancelled, or
        `before_data` raises, the connection is given up, though not before an earlier mail on it has its answer.
        """
        try:
            result = await transaction.result
            if result is not Signal.GO:
                return result
            if not await before_data():
                await self._withdraw(transaction)
                return LeaseLost()
            transaction.result = self._loop.create_future()
            self._hand_over(transaction, follow)
            return await transaction.result
        except BaseException:
            self.leave(transaction)
            raise

    def _mail_command(self, mail_from: str, mail: RawMail) -> bytes:
        extensions = self._extensions
        sender = wire_address(mail_from) if mail_from else None
        command = b"MAIL FROM:<" + (sender.text.encode() if sender else b"") + b">"
        limit = extensions.get("size")
        if limit is not None:
            if limit.isdecimal() and 0 < int(limit) < len(mail.data):
                raise _refused(Cause.TOO_LARGE)
            command += b" SIZE=%d" % len(mail.data)
        if mail.needs_smtputf8 or (sender is not None and sender.needs_smtputf8):
            if "smtputf8" not in extensions:
                raise _refused(Cause.SMTPUTF8_NOT_OFFERED)
            command += b" SMTPUTF8"
        if mail.needs_8bitmime and "8bitmime" in extensions:
            command += b" BODY=8BITMIME"
        return command + b"\r\n"

    def _hand_over(self, transaction: Transaction, follow: Follow | None) -> None:
        """The point of no return: writes the content, or first asks for leave to (without PIPELINING)."""
        if not self.alive:
            self._end(transaction, Deferred(failure(Phase.DATA, Cause.LOST)))
        elif self._pipelining:
            self._await((Step.BODY, transaction))
            content = dot_stuffed(transaction.content)
            self._transport.write(content + follow(self) if follow else content)
        else:
            self._write(b"DATA\r\n", (Step.DATA, transaction))

    async def _withdraw(self, transaction: Transaction) -> None:
        if self._pipelining or not self.alive:
            self.leave(transaction)
            return
        transaction.result, transaction.end = self._loop.create_future(), LeaseLost()
        self._write(b"RSET\r\n", (Step.RSET, transaction))
        await transaction.result

    def leave(self, transaction: Transaction) -> None:
        """Gives the connection up for a mail that nobody awaits any more; an earlier one on it has its answer first."""
        if self._open and self._open[0] is transaction:
            self.abandon()
        elif transaction in self._open:
            self._leaving = True

    # -- what replies mean --------------------------------------------------------------------------------------

    def _replied(self, step: Step, transaction: Transaction | None, code: int, text: bytes) -> None:
        if transaction is None:  # QUIT
            self._lost(Cause.LOST)
        elif step is Step.BODY:
            self._body_replied(transaction, code, text)
        elif step in (Step.RSET, Step.DOT):
            self._cleared(step, transaction, code)
        elif transaction.end is not None:
            self._refused_before(step, transaction, code)
        elif (code == 354) if step is Step.DATA else (200 <= code < 300):
            self._go_on(step, transaction)
        else:
            self._declined(step, transaction, code, text)

    def _go_on(self, step: Step, transaction: Transaction) -> None:
        if self._pipelining:
            if step is Step.DATA:
                transaction.resolve(Signal.GO)
        elif step is Step.MAIL:
            self._write(transaction.rcpt, (Step.RCPT, transaction))
        elif step is Step.RCPT:
            transaction.resolve(Signal.GO)
        else:
            self._write(dot_stuffed(transaction.content), (Step.BODY, transaction))

    def _declined(self, step: Step, transaction: Transaction, code: int, text: bytes) -> None:
        # Up to DATA a kept connection that says good-bye costs nothing; DATA may have been noted already.
        fresh = transaction.fresh or step is Step.DATA
        if code == 421 and not fresh:
            self._end(transaction, Signal.STALE)
            self.abandon()
        elif not 400 <= code < 600:
            self._end(transaction, undelivered(step, Cause.GARBLED))
            self.abandon()
        else:
            phase = PHASES[step]
            words = text.decode("utf-8", "surrogateescape")
            transaction.end = from_reply(phase, phase.value.upper(), code, words, fresh=fresh)
            transaction.recipient_refused = step is Step.RCPT
            if code == 421:
                self.abandon()
            elif not self._pipelining or step is Step.DATA:
                self._write(b"RSET\r\n", (Step.RSET, transaction))

    def _refused_before(self, step: Step, transaction: Transaction, code: int) -> None:
        """A reply to what was sent along with a refused command: of interest only if the server wants content now."""
        if step is not Step.DATA:
            return
        if code != 354:
            self._write(b"RSET\r\n", (Step.RSET, transaction))
        elif transaction.recipient_refused:  # RFC 2920 section 3.1: a lone dot, which delivers nothing to nobody
            self._write(b".\r\n", (Step.DOT, transaction))
        else:
            self.abandon()

    def _cleared(self, step: Step, transaction: Transaction, code: int) -> None:
        """The connection is ready for the next mail (RFC 5321 section 4.1.1.5), or is given up."""
        if step is Step.DOT and code != 421:
            self._write(b"RSET\r\n", (Step.RSET, transaction))
            return
        assert transaction.end is not None  # noqa: S101  -- it is what led here
        self._end(transaction, transaction.end)
        if code != 250:
            self.abandon()

    def _body_replied(self, transaction: Transaction, code: int, text: bytes) -> None:
        words = text.decode("utf-8", "surrogateescape")
        if 200 <= code < 300:
            self._end(transaction, Accepted(code, clean_line(words)))
        elif 400 <= code < 600:
            self._end(transaction, from_reply(Phase.BODY, "DATA", code, words, fresh=False))
        else:
            self._end(transaction, Unknown(failure(Phase.BODY, Cause.GARBLED, line=words)))
        if self._leaving or code == 421 or not 200 <= code < 600 or 300 <= code < 400:
            self.abandon()

    def _end(self, transaction: Transaction, result: Outcome | Signal) -> None:
        if transaction in self._open:
            self._open.remove(transaction)
        transaction.resolve(result)

    def _over(self, step: Step | None, transaction: Transaction | None, cause: Cause) -> None:
        """Says of every mail on the connection what its end means, the earliest first."""
        for item in list(self._open):
            self._end(item, ended(item, step if item is transaction else None, cause))
        if self._parted is not None and not self._parted.done():
            self._parted.set_result(None)


def _refused(cause: Cause) -> SessionFailed:
    return SessionFailed(Refused(failure(Phase.MAIL, cause, permanent=True)))
