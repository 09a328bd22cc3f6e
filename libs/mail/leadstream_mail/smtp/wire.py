"""The bytes of one SMTP connection: commands out, replies matched to them in order, and one deadline at a time.

What a reply means is decided by `session.py`. A connection that says what nobody asked for, or that is late, closed or
garbled, is closed and never used again.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque

from leadstream_mail.smtp.outcome import Cause
from leadstream_mail.smtp.replies import Replies
from leadstream_mail.smtp.transaction import Step, Transaction

_RESET_TIMEOUT_S = 5.0

Awaited = tuple[Step, Transaction | None]


class Wire(asyncio.Protocol, ABC):
    """Takes an open connection over. `timeout_s` bounds every reply but the one to the content (`data_timeout_s`)."""

    def __init__(self, transport: asyncio.Transport, timeout_s: float, data_timeout_s: float) -> None:
        self._transport = transport
        self._timeout_s, self._data_timeout_s = timeout_s, data_timeout_s
        self._loop = asyncio.get_running_loop()
        self._replies = Replies()
        self._awaited: deque[Awaited] = deque()
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._usable = True
        transport.set_protocol(self)

    @abstractmethod
    def _replied(self, step: Step, transaction: Transaction | None, code: int, text: bytes) -> None:
        """A reply to this step came in."""

    @abstractmethod
    def _over(self, step: Step | None, transaction: Transaction | None, cause: Cause) -> None:
        """The connection is closed for good; the reply to `step`, if any, was the next one due."""

    def abandon(self) -> None:
        """Closes the connection without a word; whatever was in flight on it stays undecided."""
        self._lost(Cause.LOST)

    def _await(self, *steps: Awaited) -> None:
        idle = not self._awaited
        self._awaited += steps
        if idle:
            self._set_deadline()

    def _write(self, data: bytes, *steps: Awaited) -> None:
        self._await(*steps)
        if not self._transport.is_closing():
            self._transport.write(data)

    def _set_deadline(self) -> None:
        """One timer per connection that looks again when it fires: most deadlines are never reached."""
        step = self._awaited[0][0]
        seconds = self._timeout_s
        if step is Step.BODY:
            seconds = self._data_timeout_s
        elif step in (Step.RSET, Step.DOT):
            seconds = _RESET_TIMEOUT_S
        self._deadline_s = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._deadline_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline_s, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if not self._awaited or not self._usable:
            return
        if self._loop.time() < self._deadline_s:
            self._timer = self._loop.call_at(self._deadline_s, self._look_at_the_clock)
        else:
            self._lost(Cause.TIMEOUT)

    def data_received(self, data: bytes) -> None:
        """Matches replies to commands. What was not asked for puts the connection out of step."""
        if not self._usable:
            return
        for code, text in self._replies.feed(data):
            if not self._awaited:
                self.abandon()
                return
            step, transaction = self._awaited.popleft()
            if self._awaited:
                self._set_deadline()
            self._replied(step, transaction, code, text)
            if not self._usable:
                return
        if self._replies.garbled:
            self._lost(Cause.GARBLED)
        elif not self._awaited and not self._replies.empty:
            self.abandon()

    def eof_received(self) -> bool:
        """The server closes its side; so do we."""
        self._lost(Cause.LOST)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._lost(Cause.LOST)

    def _lost(self, cause: Cause) -> None:
        if not self._usable:
            return
        self._usable = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.close()
        step, transaction = self._awaited[0] if self._awaited else (None, None)
        self._awaited.clear()
        self._over(step, transaction, cause)
