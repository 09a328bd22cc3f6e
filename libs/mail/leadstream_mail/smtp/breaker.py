"""Says how long to leave an unreachable server alone; pure.

While sessions fail the pause doubles from 1 s to 60 s; any answer about a mail ends it at once. It protects the
server and the log, never a recipient: no mail is failed by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from leadstream_events.schemas.events import SmtpFailure
from leadstream_mail.smtp.outcome import LeaseLost, Outcome, Unreachable

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """Failures in a row, what the last one was, and until when (seconds, the caller's clock) to pause."""

    failures: int = 0
    pause_until: float = 0.0
    last: SmtpFailure | None = None

    @property
    def cause(self) -> str | None:
        """A label out of `outcome.Cause` while the server is unreachable, for health and metrics."""
        return self.last.cause if self.last else None

    def after(self, outcome: Outcome, now: float) -> Breaker:
        """Returns the breaker after this outcome.

        Several sends that fail at the same time are one failure: during a pause nothing more is counted.
        """
        if isinstance(outcome, LeaseLost):
            return self
        if not isinstance(outcome, Unreachable):
            return CLOSED
        if now < self.pause_until:
            return Breaker(self.failures, self.pause_until, outcome.failure)
        doubled = FIRST_PAUSE_S * 2.0 ** min(self.failures, 10)
        pause_s = min(LONGEST_PAUSE_S, max(doubled, outcome.pause_s))
        return Breaker(self.failures + 1, now + pause_s, outcome.failure)

    def pause_s(self, now: float) -> float:
        """Seconds from `now` until the next try; 0 if there is no pause."""
        return max(0.0, self.pause_until - now)


CLOSED = Breaker()
