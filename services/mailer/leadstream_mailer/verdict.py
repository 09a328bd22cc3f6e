"""From the outcome of an attempt to what is stored: pure.

Every function returns the settlement of one delivery: ledger row, outcome event and, where the mail is given up, the
dead letter, all in one commit. The fence makes sure that only the attempt's owner settles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from leadstream_events import keys
from leadstream_events.effects import Effect, Fence, Settlement, Verb, append, due, set_field
from leadstream_events.envelope import Event, make_event
from leadstream_events.ids import message_id
from leadstream_events.ledger import Row, State, fence
from leadstream_events.runtime.delivery import Delivery, dead_letter
from leadstream_events.schemas.events import (
    EmailDeferred,
    EmailFailed,
    EmailOutcomeUnknown,
    EmailRequested,
    EmailSent,
    EmailSkipped,
    EventData,
    SmtpFailure,
)
from leadstream_events.setting_values import OnUnknown
from leadstream_mail.attempt_rules import OUTCOME_UNKNOWN, RETRIES_EXHAUSTED, AttemptRules, refusal_cause
from leadstream_mail.smtp.outcome import Accepted, Deferred, Refused, Unknown


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at the mail of one delivery. `unknowns`: earlier attempts whose outcome was never learned.

    `unsent` is the number of an attempt of this process whose content surely did not go out, whatever the ledger says.
    """

    delivery: Delivery
    event: Event
    request: EmailRequested
    owner: str = ""
    number: int = 0
    unknowns: int = 0
    unsent: int = 0

    @property
    def ledger(self) -> str:
        """The key of the ledger that holds the mail's row."""
        return keys.ledger(self.delivery.partition, self.event.subject)

    @property
    def fence(self) -> Fence:
        """Holds while the mail is still being sent as this attempt of this owner."""
        return fence(self.ledger, self.request.email_id, self.number, self.unknowns, self.owner)

    @property
    def cut_off_fence(self) -> Fence:
        """Holds while the row is still that of an attempt that a dead owner left behind."""
        prefix = f"{State.SENDING} {self.number} {self.unknowns} "
        return Fence(self.ledger, self.request.email_id, prefix)

    def under(self, traceparent: str) -> Attempt:
        """The attempt, whose outcome will carry this trace."""
        event = self.event
        return self if event.trace == traceparent else replace(self, event=replace(event, trace=traceparent))

    def base(self) -> dict[str, Any]:
        """The fields that every outcome event of the mail shares."""
        return {
            "email_id": self.request.email_id,
            "kind": self.request.kind,
            "subscriber_id": self.request.subscriber_id,
            "reservation": self.request.reservation,
        }


def _row(attempt: Attempt, state: State, now: datetime, *, phase: str = "-", unknowns: int | None = None) -> Effect:
    count = attempt.unknowns if unknowns is None else unknowns
    at_ms = int(now.timestamp() * 1000)
    row = Row(state, attempt.number, count, "-", phase or "-", at_ms, attempt.delivery.entry_id)
    return set_field(attempt.ledger, attempt.request.email_id, str(row))


def _outcome(attempt: Attempt, data: EventData, now: datetime) -> Effect:
    event = attempt.event
    made = make_event(data, subject=event.subject, now=now, cause=event.id, trace=event.trace)
    return append(keys.stream(attempt.delivery.partition, keys.OUTCOMES), made)


def _settle(
    attempt: Attempt, effects: Sequence[Effect], *, verb: Verb = Verb.ACK, guard: Fence | None = None
) -> Settlement:
    delivery = attempt.delivery
    return Settlement(delivery.stream, delivery.entry_id, tuple(effects), verb, guard)


def _park(attempt: Attempt, effects: Sequence[Effect], delay_s: float, guard: Fence) -> Settlement:
    delivery = attempt.delivery
    key = keys.due(delivery.partition, keys.MAILER)
    back = due(key, delivery.stream, delivery.entry_id, delay_s)
    return _settle(attempt, (*effects, back), verb=Verb.PARK, guard=guard)


def sent(attempt: Attempt, outcome: Accepted, rules: AttemptRules, now: datetime) -> Settlement:
    """The server took the mail."""
    data = EmailSent(
        **attempt.base(),
        attempt=attempt.number,
        code=outcome.code,
        reply=outcome.reply,
        message_id=message_id(attempt.request.email_id, rules.mail_from),
        after_unknown=attempt.unknowns > 0,
    )
    effects = (_row(attempt, State.SENT, now, phase="accepted"), _outcome(attempt, data, now))
    return _settle(attempt, effects, guard=attempt.fence)


def deferred(attempt: Attempt, failure: SmtpFailure, rules: AttemptRules, now: datetime) -> Settlement:
    """The attempt failed in a way that may pass: parked until the next one, or given up after the last."""
    if attempt.number >= rules.max_attempts:
        return failed(attempt, RETRIES_EXHAUSTED, failure, now, attempt.fence)
    delay_s = rules.delay_s(attempt.number)
    at = now + timedelta(seconds=delay_s)
    data = EmailDeferred(**attempt.base(), attempt=attempt.number, failure=failure, next_attempt_at=at)
    effects = (_row(attempt, State.DEFERRED, at, phase=failure.phase), _outcome(attempt, data, now))
    return _park(attempt, effects, delay_s, attempt.fence)


def failed(
    attempt: Attempt, cause: str, failure: SmtpFailure | None, now: datetime, guard: Fence | None = None
) -> Settlement:
    """The mail is given up: an outcome for the counters, a dead letter for a person."""
    data = EmailFailed(**attempt.base(), attempt=attempt.number, cause=cause, failure=failure)
    detail = f"{failure.cause}: {failure.line}" if failure else ""
    effects = (
        _row(attempt, State.FAILED, now, phase=failure.phase if failure else "-"),
        _outcome(attempt, data, now),
        dead_letter(attempt.delivery, keys.MAILER, cause, detail, now),
    )
    return _settle(attempt, effects, guard=guard)


def skipped(attempt: Attempt, reason: str, now: datetime) -> Settlement:
    """The mail is not sent on purpose."""
    data = EmailSkipped(**attempt.base(), reason=reason)
    effects = (_row(attempt, State.SKIPPED, now), _outcome(attempt, data, now))
    return _settle(attempt, effects, guard=attempt.fence)


def unknown(
    attempt: Attempt, detail: str, rules: AttemptRules, now: datetime, *, guard: Fence, delay_s: float
) -> Settlement:
    """The answer to DATA was never learned: once more with the same Message-ID, or kept for a person."""
    policy = rules.after_unknown(attempt.number, attempt.unknowns)
    data = EmailOutcomeUnknown(**attempt.base(), attempt=attempt.number, policy=policy, detail=detail)
    event = _outcome(attempt, data, now)
    count = attempt.unknowns + 1
    if policy is OnUnknown.RESEND:
        row = _row(attempt, State.UNKNOWN, now, phase="data", unknowns=count)
        return _park(attempt, (row, event), delay_s, guard)
    row = _row(attempt, State.HELD, now, phase="data", unknowns=count)
    letter = dead_letter(attempt.delivery, keys.MAILER, OUTCOME_UNKNOWN, detail, now)
    return _settle(attempt, (row, event, letter), guard=guard)


def cut_off(attempt: Attempt, rules: AttemptRules, now: datetime) -> Settlement:
    """An earlier owner died after DATA went out."""
    detail = "the worker died after the content was sent"
    return unknown(attempt, detail, rules, now, guard=attempt.cut_off_fence, delay_s=0.0)


def after(
    attempt: Attempt, outcome: Accepted | Deferred | Refused | Unknown, rules: AttemptRules, now: datetime
) -> Settlement:
    """The settlement that an answered (or unanswered) attempt leads to."""
    match outcome:
        case Accepted():
            return sent(attempt, outcome, rules, now)
        case Deferred(failure=failure):
            return deferred(attempt, failure, rules, now)
        case Refused(failure=failure):
            return failed(attempt, refusal_cause(failure), failure, now, attempt.fence)
        case Unknown(failure=failure):
            delay_s = rules.delay_s(attempt.number)
            return unknown(attempt, failure.cause, rules, now, guard=attempt.fence, delay_s=delay_s)
