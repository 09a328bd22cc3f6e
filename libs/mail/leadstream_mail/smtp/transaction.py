"""One mail on its way through one connection: what was asked of the server, and what is still to be answered."""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from leadstream_mail.smtp.outcome import (
    Cause,
    Deferred,
    Outcome,
    Phase,
    Refused,
    Unknown,
    Unreachable,
    failure,
    unreachable,
)


class Step(Enum):
    """A command whose reply is awaited. `DOT` ends a content that the server asked for although there is none."""

    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    BODY = auto()
    DOT = auto()
    RSET = auto()
    QUIT = auto()


class Signal(Enum):
    """`GO`: the server waits for the content. `STALE`: the connection had ended before it took part in this mail."""

    GO = auto()
    STALE = auto()


PHASES = {Step.MAIL: Phase.MAIL, Step.RCPT: Phase.RCPT, Step.DATA: Phase.DATA}


class SessionFailed(Exception):
    """The dialogue ended without delivery; `outcome` says what that means for the mail."""

    def __init__(self, outcome: Deferred | Refused | Unreachable) -> None:
        super().__init__(outcome.failure.cause)
        self.outcome = outcome


class Transaction:
    """One mail. `result` is what its sender awaits next: first `Signal.GO`, then the outcome, or only an outcome."""

    __slots__ = ("content", "end", "fresh", "mail", "rcpt", "recipient_refused", "result")

    def __init__(self, mail: bytes, rcpt: bytes, content: bytes, fresh: bool) -> None:
        self.mail, self.rcpt, self.content, self.fresh = mail, rcpt, content, fresh
        self.result: asyncio.Future[Outcome | Signal] = asyncio.get_running_loop().create_future()
        self.end: Outcome | None = None
        self.recipient_refused = False

    def resolve(self, result: Outcome | Signal) -> None:
        """Tells the sender, unless he has gone."""
        if not self.result.done():
            self.result.set_result(result)


def ended(transaction: Transaction, step: Step | None, cause: Cause) -> Outcome | Signal:
    """What the end of a connection means for a mail whose next reply, in its turn, was that to `step`.

    A kept connection is stale if it was closed, or if it never answered the first command of the mail.
    """
    if transaction.end is not None:
        return transaction.end
    if step is None:  # not its turn yet, or its sender was asked for leave just now
        return Signal.STALE
    if step is Step.BODY:
        return Unknown(failure(Phase.BODY, cause))
    stale = cause is Cause.LOST or (cause is Cause.TIMEOUT and step is Step.MAIL)
    if stale and not transaction.fresh and step is not Step.DATA:
        return Signal.STALE
    return undelivered(step, cause)


def undelivered(step: Step, cause: Cause) -> Deferred | Unreachable:
    if step is Step.MAIL:
        return unreachable(Phase.MAIL, cause)
    return Deferred(failure(PHASES[step], cause))
