"""What the settings say about attempts, the same whether the mailer sends or the API while Redis is away: pure."""

from __future__ import annotations

from dataclasses import dataclass

from leadstream_events.schemas.events import SmtpFailure
from leadstream_events.setting_values import OnUnknown
from leadstream_events.settings import Settings

# One more try after a lost answer; a second lost answer is for a person (docs/decisions/0006-unknown-outcomes.md).
MAX_UNKNOWNS = 1

OUTCOME_UNKNOWN = "outcome_unknown"
RETRIES_EXHAUSTED = "retries_exhausted"


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """How often, how far apart, and what follows a lost answer. `partitions`: where a dead letter goes."""

    mail_from: str
    max_attempts: int
    retry_delays_s: tuple[float, ...]
    on_unknown: OnUnknown
    partitions: int = 1

    def delay_s(self, attempt: int) -> float:
        """Seconds between this attempt (from 1) and the next; the last delay repeats."""
        return self.retry_delays_s[min(attempt, len(self.retry_delays_s)) - 1]

    def after_unknown(self, attempt: int, unknowns: int) -> OnUnknown:
        """What follows when the answer to this attempt was lost, as `unknowns` answers were before it."""
        again = self.on_unknown is OnUnknown.RESEND and unknowns < MAX_UNKNOWNS and attempt < self.max_attempts
        return OnUnknown.RESEND if again else OnUnknown.HOLD


def rules_of(settings: Settings) -> AttemptRules:
    """The rules that the settings make."""
    return AttemptRules(
        settings.mail_from, settings.max_attempts, settings.retry_delays, settings.on_unknown, settings.partitions
    )


def refusal_cause(failure: SmtpFailure) -> str:
    """The cause of a mail that was refused for good, such as `smtp_550`."""
    return f"smtp_{failure.code}" if failure.code else failure.cause or "refused"
