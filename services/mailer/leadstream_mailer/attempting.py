"""One SMTP attempt at one mail: build, note the phase before the content goes out, send, and say what follows.

It never settles itself; it returns the settlement, or that the mail is to be begun again, or that it is somebody
else's by now.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from structlog.stdlib import get_logger

from leadstream_events import scripts
from leadstream_events.directory import Snapshot
from leadstream_events.effects import Settlement
from leadstream_events.errors import Permanent
from leadstream_events.ids import message_id
from leadstream_events.redis_client import classify
from leadstream_events.runtime.source import monotonic_s
from leadstream_events.writer import PipelinedWriter
from leadstream_mail.attempt_rules import AttemptRules
from leadstream_mail.build import RawMail
from leadstream_mail.smtp.breaker import Breaker
from leadstream_mail.smtp.outcome import LeaseLost, Unreachable
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mailer import metrics, verdict
from leadstream_mailer.content import Contents
from leadstream_mailer.verdict import Attempt

logger = get_logger("leadstream.mailer")

_NOTE_DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Again:
    """Nothing was sent and no attempt was used: begin it again. `unreachable`: the SMTP server is at fault."""

    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Forget:
    """The mail is another worker's by now."""


def address_of(attempt: Attempt, snapshot: Snapshot) -> str:
    """The recipient's address now: a corrected one counts from the next attempt on."""
    subscriber = snapshot.subscribers.get(attempt.request.subscriber_id or "")
    return subscriber.email if subscriber else attempt.request.to


class Attempter:
    """Makes attempts over one pool. `breaker` tells how long to leave the server alone."""

    def __init__(
        self, owner: str, rules: AttemptRules, contents: Contents, pool: SmtpPool, writer: PipelinedWriter
    ) -> None:
        self._owner, self._rules, self._contents, self._pool, self._writer = owner, rules, contents, pool, writer
        self.breaker = Breaker()

    async def attempt(self, attempt: Attempt, expires_s: float, snapshot: Snapshot) -> Settlement | Again | Forget:
        """Makes one attempt; it must start before `expires_s` (monotonic), when its token runs out."""
        try:
            mail = await self._mail(attempt, snapshot)
        except Permanent as error:
            return verdict.failed(attempt, error.cause, None, datetime.now(UTC), attempt.fence)
        except Exception as error:
            if classify(error) is None:
                raise
            return Again()
        if monotonic_s() >= expires_s:
            return Again()
        note = _PhaseNote(self._writer, self._owner, attempt)
        started_s = monotonic_s()
        outcome = await self._pool.send(self._rules.mail_from, mail, note.before_data)
        self.breaker = self.breaker.after(outcome, monotonic_s())
        metrics.observe(outcome, monotonic_s() - started_s, self.breaker)
        if isinstance(outcome, Unreachable):
            logger.warning("smtp server unreachable", cause=outcome.failure.cause, phase=outcome.failure.phase)
            return Again(unreachable=True)
        if isinstance(outcome, LeaseLost):
            return Again() if note.in_doubt else Forget()
        return verdict.after(attempt, outcome, self._rules, datetime.now(UTC))

    async def _mail(self, attempt: Attempt, snapshot: Snapshot) -> RawMail:
        request = attempt.request
        prepared = await self._contents.of(attempt.delivery.partition, request.lead_entry, request.kind)
        subscriber = snapshot.subscribers.get(request.subscriber_id or "")
        return prepared.for_recipient(
            name=subscriber.name if subscriber else None,
            address=address_of(attempt, snapshot),
            message_id=message_id(request.email_id, self._rules.mail_from),
            date=datetime.now(UTC),
        )


class _PhaseNote:
    """Writes down that the content goes out; `in_doubt` when Redis did not say whether the mail is still ours."""

    def __init__(self, writer: PipelinedWriter, owner: str, attempt: Attempt) -> None:
        self._writer, self._owner, self._attempt = writer, owner, attempt
        self.in_doubt = False

    async def before_data(self) -> bool:
        """True when it is written and the mail is ours; only then may the content go out."""
        attempt = self._attempt
        try:
            reply = await self._writer.call(
                scripts.PHASE,
                [attempt.ledger],
                [self._owner, "data", 1, attempt.request.email_id, attempt.number],
                deadline_s=_NOTE_DEADLINE_S,
            )
        except Exception as error:
            if classify(error) is None:
                raise
            self.in_doubt = True
            return False
        return bool(reply[0] == 1)
