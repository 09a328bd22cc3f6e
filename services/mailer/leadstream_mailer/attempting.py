"""One SMTP attempt at one mail: build, note the phase before the content goes out, send, and say what follows.

It never settles itself; it returns the settlement, or that the mail is to be begun again, or that it is somebody
else's by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from structlog.stdlib import get_logger

from leadstream_events.directory import Snapshot
from leadstream_events.effects import Settlement
from leadstream_events.errors import Permanent
from leadstream_events.ids import message_id
from leadstream_events.redis_client import classify
from leadstream_events.runtime.source import monotonic_s
from leadstream_events.schemas.subscriber import MailFormat
from leadstream_events.sealing import ERASED
from leadstream_events.tracing import Span
from leadstream_mail.attempt_rules import AttemptRules
from leadstream_mail.attempt_span import BUILT, CONTENT_RELEASED, RECIPIENT_ACCEPTED, attempt_span, note_outcome
from leadstream_mail.build import RawMail
from leadstream_mail.marks import Marks
from leadstream_mail.return_path import ReturnPaths
from leadstream_mail.smtp.breaker import Breaker
from leadstream_mail.smtp.outcome import Accepted, Deferred, LeaseLost, Unreachable
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mail.throttling import asks_to_slow_down
from leadstream_mailer import metrics, verdict
from leadstream_mailer.content import Contents, Erased, Place
from leadstream_mailer.limiter import Limiter
from leadstream_mailer.phase_notes import PhaseNotes
from leadstream_mailer.verdict import Attempt

logger = get_logger("leadstream.mailer")


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


def lead_of(attempt: Attempt) -> Place:
    """Where the lead of a mail is."""
    return attempt.delivery.partition, attempt.event.subject, attempt.request.lead_entry


class Attempter:
    """Makes attempts over one pool. `breaker` tells how long to leave the server alone."""

    def __init__(
        self,
        rules: AttemptRules,
        contents: Contents,
        pool: SmtpPool,
        notes: PhaseNotes,
        return_paths: ReturnPaths,
        marks: Marks,
        limiter: Limiter,
    ) -> None:
        self._rules, self._contents, self._pool, self._notes = rules, contents, pool, notes
        self._return_paths, self._marks, self._limiter = return_paths, marks, limiter
        self.breaker = Breaker()

    async def attempt(self, attempt: Attempt, expires_s: float, snapshot: Snapshot) -> Settlement | Again | Forget:
        """Makes one attempt; it must start before `expires_s` (monotonic), when its token runs out."""
        request, parent = attempt.request, attempt.event.trace
        with attempt_span(
            parent, lead_id=attempt.event.subject, email_id=request.email_id, kind=request.kind, number=attempt.number,
            mode="stream",
        ) as span:  # fmt: skip
            return await self._attempt(attempt.under(span.traceparent), expires_s, snapshot, span)

    async def _attempt(
        self, attempt: Attempt, expires_s: float, snapshot: Snapshot, span: Span
    ) -> Settlement | Again | Forget:
        try:
            mail = await self._mail(attempt, snapshot)
        except Permanent as error:
            span.fail(error.cause)
            return verdict.failed(attempt, error.cause, None, datetime.now(UTC), attempt.fence)
        except Erased:
            return verdict.skipped(attempt, ERASED, datetime.now(UTC))
        except Exception as error:
            if classify(error) is None:
                raise
            return Again()
        if monotonic_s() >= expires_s:
            return Again()
        span.event(BUILT)
        note = _PhaseNote(self._notes, attempt, span)
        started_s = monotonic_s()
        sender = self._return_paths.of(attempt.event.subject, attempt.request.email_id)
        outcome = await self._pool.send(sender, mail, note.before_data)
        self.breaker = self.breaker.after(outcome, monotonic_s())
        note_outcome(span, outcome)
        metrics.observe(outcome, monotonic_s() - started_s, self.breaker)
        if isinstance(outcome, Accepted):
            metrics.accepted(attempt.request.lead_entry, datetime.now(UTC))
        if isinstance(outcome, Unreachable):
            logger.warning("smtp server unreachable", cause=outcome.failure.cause, phase=outcome.failure.phase)
            return Again(unreachable=True)
        if isinstance(outcome, LeaseLost):
            return Again() if note.in_doubt else Forget()
        if isinstance(outcome, Deferred) and asks_to_slow_down(outcome.failure):
            await self._limiter.slow_down(address_of(attempt, snapshot))
        return verdict.after(attempt, outcome, self._rules, datetime.now(UTC))

    async def with_addresses(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """The attempts, each with its recipient: a mail to a sealed lead itself does not name him. One round trip.

        That of a lead that cannot be read stays empty: building the mail says why. Redis errors pass through.
        """
        await self._contents.read_ahead([lead_of(attempt) for attempt in attempts])
        return [attempt if attempt.request.to else self._with_address(attempt) for attempt in attempts]

    def _with_address(self, attempt: Attempt) -> Attempt:
        to = self._contents.address_of(lead_of(attempt))
        return replace(attempt, request=attempt.request.model_copy(update={"to": to}))

    async def _mail(self, attempt: Attempt, snapshot: Snapshot) -> RawMail:
        request = attempt.request
        subscriber = snapshot.subscribers.get(request.subscriber_id or "")
        form = subscriber.format if subscriber else MailFormat.HTML
        prepared = await self._contents.of(lead_of(attempt), request.kind, form)
        mark = self._marks.of(attempt.event.subject, request.email_id, request.subscriber_id)
        return prepared.for_recipient(
            name=subscriber.name if subscriber else None,
            address=address_of(attempt, snapshot),
            message_id=message_id(request.email_id, self._rules.mail_from),
            date=datetime.now(UTC),
            extra=mark.headers,
            unsubscribe=mark.unsubscribe,
        )


class _PhaseNote:
    """The note that a mail's content goes out; `in_doubt` when Redis did not say whether the mail is still ours."""

    __slots__ = ("_attempt", "_notes", "_span", "in_doubt")

    def __init__(self, notes: PhaseNotes, attempt: Attempt, span: Span) -> None:
        self._notes, self._attempt, self._span = notes, attempt, span
        self.in_doubt = False

    async def before_data(self) -> bool:
        """True when it is written and the mail is ours; only then may the content go out."""
        attempt = self._attempt
        self._span.event(RECIPIENT_ACCEPTED)
        ours = await self._notes.note(attempt.ledger, attempt.request.email_id, attempt.number)
        self.in_doubt = ours is None
        if ours:
            self._span.event(CONTENT_RELEASED)
        return bool(ours)
