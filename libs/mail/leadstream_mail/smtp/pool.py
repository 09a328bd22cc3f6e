"""Sends mails over kept connections and answers each send with one value of a closed set; it never raises for SMTP.

A kept connection that the server had ended while idle is replaced at once, before the caller has recorded anything,
and costs no attempt (case 039). A connection whose dialogue was cut short (cancelled, timed out, garbled) is thrown
away. A server that limits connections is obeyed: the pool shrinks to what it grants and feels its way up later.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from leadstream_events.errors import Transient
from leadstream_mail.build import RawMail
from leadstream_mail.smtp.dial import open_session
from leadstream_mail.smtp.endpoint import Tls, parse_smtp_url
from leadstream_mail.smtp.outcome import Cause, Outcome, Phase, Unreachable, unreachable
from leadstream_mail.smtp.session import BeforeData, Session, SessionFailed, StaleConnection

IDLE_S = 15.0
GROW_AGAIN_S = 60.0
_QUIT_TIMEOUT_S = 2.0

Token = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class PoolState:
    """What the pool holds now, for health and metrics. `limit`: connections the server is thought to grant."""

    open: int
    idle: int
    waiting: int
    limit: int


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
        self._endpoint = parse_smtp_url(url, password)
        if tls_context is None and self._endpoint.tls is not Tls.NONE:
            tls_context = ssl.create_default_context()
        self._tls_context = tls_context
        self._connections = self._limit = connections
        self._timeout_s, self._data_timeout_s, self._idle_s = timeout_s, data_timeout_s, idle_s
        self._token = xoauth2_token
        self._open = 0
        self._idle: list[Session] = []  # the longest idle first; taken from the end
        self._waiters: deque[asyncio.Future[None]] = deque()
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
                session = await self._acquire(only_new)
            except SessionFailed as failed:
                return failed.outcome
            try:
                outcome = await session.transmit(mail_from, mail, before_data)
            except StaleConnection:
                self._discard(session)
                only_new = True  # the next is new, so this happens once
            except BaseException:
                self._discard(session)
                raise
            else:
                self._release(session)
                return outcome

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

    async def _acquire(self, only_new: bool) -> Session:
        loop = asyncio.get_running_loop()
        while True:
            if self._closed:
                raise RuntimeError("the SMTP pool is closed")
            if only_new and self._idle:
                self._discard(self._idle.pop(0))
            while not only_new and self._idle:
                session = self._idle.pop()
                if session.alive and loop.time() - session.idle_since_s < self._idle_s:
                    return session
                self._discard(session)
            if self._limit < self._connections and loop.time() >= self._grow_at_s:
                self._limit += 1
                self._grow_at_s = loop.time() + GROW_AGAIN_S
            if self._open < self._limit:
                opened = await self._open_one()
                if opened is not None:
                    return opened
            else:
                await self._wait()

    async def _open_one(self) -> Session | None:
        """Returns a new session, or None if the server grants no more than we hold."""
        self._open += 1
        try:
            return await self._dial()
        except SessionFailed as failed:
            self._open -= 1
            outcome = failed.outcome
            if self._open and isinstance(outcome, Unreachable) and _means_too_many(outcome):
                self._limit = min(self._limit, self._open)
                self._grow_at_s = asyncio.get_running_loop().time() + GROW_AGAIN_S
                return None
            self._limit = self._connections  # nothing is open: what was learned of its limit is void
            self._fail_waiters(failed)
            raise
        except BaseException:
            self._open -= 1
            self._wake()
            raise

    async def _dial(self) -> Session:
        try:
            return await self._dial_once()
        except SessionFailed as failed:
            if self._token is None or failed.outcome.failure.cause != Cause.AUTH_FAILED:
                raise
        return await self._dial_once()

    async def _dial_once(self) -> Session:
        secret = self._endpoint.password
        if self._endpoint.xoauth2 and self._token is not None:
            try:
                secret = await self._token()
            except (OSError, Transient):
                raise SessionFailed(unreachable(Phase.AUTH, Cause.TOKEN)) from None
        return await open_session(self._endpoint, secret, self._tls_context, self._timeout_s, self._data_timeout_s)

    def _release(self, session: Session) -> None:
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
        self._open -= 1
        self._wake()

    def _dismiss(self, session: Session) -> None:
        self._open -= 1
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

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake()  # it was our turn; pass it on
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _fail_waiters(self, error: Exception) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
                waiter.exception()  # a waiter that is being cancelled never looks; asyncio must not complain


def _means_too_many(outcome: Unreachable) -> bool:
    """True if a server that serves our other connections would refuse one more in this way."""
    said = outcome.failure
    if said.phase == Phase.BANNER:
        return said.cause in (Cause.SERVER_BUSY, Cause.LOST)
    return said.phase in (Phase.EHLO, Phase.AUTH) and said.code is not None and said.code < 500
