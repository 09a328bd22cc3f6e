"""Mails that end without an attempt, or wait: why, and what follows. Pure but for the counter of lost answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from leadstream_events.directory import Snapshot
from leadstream_events.effects import Settlement
from leadstream_events.sealing import ERASED
from leadstream_mail.attempt_rules import RETRIES_EXHAUSTED, AttemptRules
from leadstream_mailer import metrics, verdict
from leadstream_mailer.attempting import address_of
from leadstream_mailer.limiter import Token
from leadstream_mailer.verdict import Attempt

# Delivered too often without ever finishing: the mail fails like any other, so that its purchased lead is given back.
POISON = "poison"


@dataclass(frozen=True, slots=True)
class Ready:
    """A mail that may be begun: with a token, or to be ended for a reason."""

    attempt: Attempt
    token: Token
    end: str | None = None


def why_end(attempt: Attempt, snapshot: Snapshot, now: datetime, max_deliveries: int) -> str | None:
    """Why this mail ends without an attempt; None when it may be begun."""
    if attempt.delivery.deliveries > max_deliveries:
        return POISON
    return snapshot.why_skip(attempt.request.subscriber_id, address_of(attempt, snapshot), now)


def not_sent(answer: bytes, attempt: Attempt, end: str | None, rules: AttemptRules, now: datetime) -> Settlement | None:
    """What follows from an answer of `begin.lua`, or from `end`; None for a mail that another worker has begun."""
    if answer == b"go" and end == POISON:
        return verdict.failed(attempt, POISON, None, now, attempt.fence)
    if answer == b"erased":
        return verdict.skipped(attempt, ERASED, now)
    if answer == b"go":
        return verdict.skipped(attempt, end or "", now)
    if answer == b"unknown":
        metrics.UNKNOWN.inc()
        return verdict.cut_off(attempt, rules, now)
    if answer == b"exhausted":
        return verdict.failed(attempt, RETRIES_EXHAUSTED, None, now)
    if answer == b"busy":
        return None
    return Settlement(attempt.delivery.stream, attempt.delivery.entry_id)
