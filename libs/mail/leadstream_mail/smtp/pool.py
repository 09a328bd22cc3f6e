"""Sends mails over kept connections and answers each send with one value of a closed set; it never raises for SMTP.

A kept connection that the server had ended while idle is replaced at once, before the caller has recorded anything,
and costs no attempt (case 039). A connection whose dialogue was cut short (cancelled, timed out, garbled) is thrown
away. A server that limits connections is obeyed: the pool shrinks to what it grants and feels its way up later.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass

from leadstream_events.errors import Permanent
from leadstream_mail.build import RawMail
from leadstream_mail.smtp.dialer import Dialer, Token, means_too_many
from leadstream_mail.smtp.endpoint import parse_smtp_url
from leadstream_mail.smtp.outcome import Outcome, Unreachable, about_nobody
from leadstream_mail.smtp.session import BeforeData, Session
from leadstream_mail.smtp.transaction import SessionFailed, Signal, Transaction

IDLE_S = 15.0
GROW_AGAIN_S = 60.0
_QUIT_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class PoolState:
    """What the pool holds now, for health and metrics. `limit`: connections the server is thought to grant."""

    open: int
    idle: int
    waiting: int
    limit: int


class _Waiter:
    """A mail that needs a connection. `turn`: None to look for one, or what was begun for it."""

    __slots__ = ("mail", "mail_from", "only_new", "turn")

    def __init__(self, mail_from: str, mail: RawMail, only_new: bool) -> None:
        self.mail_from, self.mail, self.only_new = mail_from, mail, only_new
        self.turn: asyncio.Future[tuple[Session, Transaction] | None]


class SmtpPool:
    """Up to `connections` kept connections to one server.

    `timeout_s` bounds connecting and every reply but one; `data_timeout_s` the reply to the final dot, for which RFC
    5321 section 4.5.3.2.6 asks 600 s. An idle connection is closed after `idle_s`. `xoauth2_token` is asked for a
    token per login and once more if the first is refused; where it raises OSError or `Transient` the server counts
    as unreachable. Without it the password serves as the token.
    """

    def __init__(
        self,
        url: str,
        password: str | None = None,
        *,
        connections: int,
        timeout_s: float,
        data_timeout_s: float,
        tls_context: ssl.SSLContext | None = None,
        xoauth2_token: Token | None = None,
        idle_s: float = IDLE_S,
    ) -> None:
        self._dialer = Dialer(
            parse_smtp_url(url, password),
            tls_context,
            xoauth2_token,
            timeout_s=timeout_s,
            data_timeout_s=data_timeout_s,
        )
        self._connections = self._limit = connections
        self._timeout_s, self._idle_s = timeout_s, idle_s
        self._dialing = 0
        self._sessions: set[Session] = set()
        self._idle: list[Session] = []  # the longest idle first; taken from the end
        self._waiters: deque[_Waiter] = deque()
        self._grow_at_s = 0.0
        self._reaper: asyncio.TimerHandle | None = None
        self._farewells: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def state(self) -> PoolState:
        """A snapshot."""
        return PoolState(self._open, len(self._idle), len(self._waiters), self._limit)

    async def send(self, mail_from: str, mail: RawMail, before_data: BeforeData) -> Outcome:
        """Sends one mail to `mail.envelope_to` and returns what became of it.

        `before_data` is awaited once, after RCPT was accepted and before DATA: record the phase there; False means
        that the mail is no longer ours to send. Its exceptions pass through. RuntimeError on a closed pool.
        `Permanent` if `mail_from` has no safe spelling. A cancelled send may have delivered.
        """
        only_new = False
        while True:
            try:
                session, transaction = await self._begin(_Waiter(mail_from, mail, only_new))
            except SessionFailed as failed:
                return failed.outcome
            try:
                result = await session.transmit(transaction, before_data, self._follow)
            finally:
                self._release(session)
            if not isinstance(result, Signal):
                return about_nobody(result, mail.envelope_to)
            only_new = True  # the next is new, so this happens once

    async def close(self) -> None:
        """Says QUIT on idle connections; those in use are closed when their send ends."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        while self._idle:
            self._dismiss(self._idle.pop())
        self._fail_waiters(RuntimeError("the SMTP pool is closed"))
        if self._farewells:
            await asyncio.wait(self._farewells)

    # -- connections --------------------------------------------------------------------------------------------

    @property
    def _open(self) -> int:
        return len(self._sessions) + self._dialing

    async def _begin(self, waiter: _Waiter) -> tuple[Session, Transaction]:
        """Returns the mail's transaction, begun on a connection of its own or right behind another mail."""
        begun = await self._acquire(waiter)
        if not isinstance(begun, Session):
            return begun
        try:
            return begun, begun.begin(waiter.mail_from, waiter.mail)
        except BaseException:
            self._release(begun)
            raise

    def _take_idle(self, only_new: bool) -> Session | None:
        if self._closed:
            raise RuntimeError("the SMTP pool is closed")
        if only_new and self._idle:
            self._discard(self._idle.pop(0))
        loop = asyncio.get_running_loop()
        while not only_new and self._idle:
            session = self._idle.pop()
            if session.alive and loop.time() - session.idle_since_s < self._idle_s:
                return session
            self._discard(session)
        return None

    async def _acquire(self, waiter: _Waiter) -> Session | tuple[Session, Transaction]:
        """Returns a connection, or what `_follow` has begun meanwhile."""
        while True:
            session = self._take_idle(waiter.only_new)
            if session is not None:
                return session
            loop = asyncio.get_running_loop()
            if self._limit < self._connections and loop.time() >= self._grow_at_s:
                self._limit += 1
                self._grow_at_s = loop.time() + GROW_AGAIN_S
            if self._open < self._limit:
                opened = await self._open_one()
                if opened is not None:
                    return opened
            elif (begun := await self._wait(waiter)) is not None:
                return begun

    def _follow(self, session: Session) -> bytes:
        """Returns the commands of the next mail that waits, to go along with the content of this one.

        Only while more mails wait than there are connections: behind a slow answer it would wait for longer.
        """
        if self._closed or self._open > self._limit or len(self._waiters) < self._open:
            return b""
        waiter = self._waiters[0]
        if waiter.only_new or waiter.turn.done():
            return b""
        try:
            transaction, commands = session.prepare(waiter.mail_from, waiter.mail)
        except (SessionFailed, Permanent):  # it will be told when its turn comes
            return b""
        self._waiters.popleft()
        waiter.turn.set_result((session, transaction))
        return commands

    async def _open_one(self) -> Session | None:
        """Returns a new session, or None if the server grants no more than we hold."""
        self._dialing += 1
        try:
            session = await self._dialer.dial()
        except SessionFailed as failed:
            self._dialing -= 1
            outcome = failed.outcome
            if self._open and isinstance(outcome, Unreachable) and means_too_many(outcome):
                self._limit = min(self._limit, self._open)
                self._grow_at_s = asyncio.get_running_loop().time() + GROW_AGAIN_S
                return None
            self._limit = self._connections  # nothing is open: what was learned of its limit is void
            self._fail_waiters(failed)
            raise
        except BaseException:
            self._dialing -= 1
            self._wake()
            raise
        self._dialing -= 1
        self._sessions.add(session)
        return session

    def _release(self, session: Session) -> None:
        """A mail has ended on it; another may still be under way."""
        if session.busy or session not in self._sessions:
            return
        if not session.alive or self._open > self._limit:
            self._discard(session)
        elif self._closed:
            self._dismiss(session)
        else:
            loop = asyncio.get_running_loop()
            session.idle_since_s = loop.time()
            self._idle.append(session)
            if self._reaper is None:
                self._reaper = loop.call_later(self._idle_s, self._reap)
            self._wake()

    def _discard(self, session: Session) -> None:
        session.abandon()
        self._sessions.discard(session)
        self._wake()

    def _dismiss(self, session: Session) -> None:
        self._sessions.discard(session)
        task = asyncio.get_running_loop().create_task(session.quit(min(_QUIT_TIMEOUT_S, self._timeout_s)))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    def _reap(self) -> None:
        """Leaves before the server loses patience: an idle connection is cheaper to renew than to lose in use."""
        loop = asyncio.get_running_loop()
        while self._idle and loop.time() - self._idle[0].idle_since_s >= self._idle_s:
            self._dismiss(self._idle.pop(0))
        self._reaper = None
        if self._idle:
            left_s = self._idle[0].idle_since_s + self._idle_s - loop.time()
            self._reaper = loop.call_later(max(0.01, left_s), self._reap)

    # -- waiting ------------------------------------------------------------------------------------------------

    async def _wait(self, waiter: _Waiter) -> tuple[Session, Transaction] | None:
        """Returns when it may be this mail's turn to look for a connection, or what was begun for it."""
        turn: asyncio.Future[tuple[Session, Transaction] | None] = asyncio.get_running_loop().create_future()
        waiter.turn = turn
        self._waiters.append(waiter)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on(turn.result())
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _pass_on(self, begun: tuple[Session, Transaction] | None) -> None:
        """It was our turn, and we are cancelled."""
        if begun is None:
            self._wake()
            return
        session, transaction = begun
        session.leave(transaction)
        self._release(session)

    def _wake(self) -> None:
        while self._waiters:
            turn = self._waiters.popleft().turn
            if not turn.done():
                turn.set_result(None)
                return

    def _fail_waiters(self, error: Exception) -> None:
        while self._waiters:
            turn = self._waiters.popleft().turn
            if not turn.done():
                turn.set_exception(error)
                turn.exception()  # a waiter that is being cancelled never looks; asyncio must not complain
