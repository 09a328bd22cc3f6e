"""What is told of a settlement, read from what it stores."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from leadstream_events import keys
from leadstream_events.effects import Settlement
from leadstream_events.envelope import make_event
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.schemas.events import EmailRequested, Kind, SmtpFailure
from leadstream_events.setting_values import OnUnknown
from leadstream_mail.attempt_rules import AttemptRules
from leadstream_mail.smtp.outcome import Accepted, Deferred, Refused, Unknown
from leadstream_mail.telling import Told
from leadstream_mailer import verdict
from leadstream_mailer.telling import told_by

NOW = datetime(2026, 1, 2, tzinfo=UTC)
REQUEST = EmailRequested(email_id="mail-1", kind=Kind.WELCOME, to="dana@example.com", lead_entry="1-0")
EVENT = make_event(REQUEST, subject=str(uuid4()), now=NOW)
ATTEMPT = verdict.Attempt(Delivery(0, keys.stream(0, keys.EMAILS), "2-0", {}, EVENT), EVENT, REQUEST, "w", 1)
BUSY = SmtpFailure(permanent=False, phase="rcpt", code=451, cause="deferred", line="later, dana@example.com")
GONE = SmtpFailure(permanent=True, phase="rcpt", code=550, cause="user_unknown")
LOST = SmtpFailure(permanent=False, phase="body", cause="connection_lost")


def rules(attempts: int = 4, on_unknown: OnUnknown = OnUnknown.RESEND) -> AttemptRules:
    return AttemptRules("leads@example.com", attempts, (60.0,), on_unknown)


@pytest.mark.parametrize(
    ("settlement", "event_type", "why", "given_up"),
    [
        (verdict.after(ATTEMPT, Accepted(250, "ok"), rules(), NOW), "EmailSent", "", None),
        (verdict.after(ATTEMPT, Deferred(BUSY), rules(), NOW), "EmailDeferred", "deferred", None),
        (
            verdict.after(ATTEMPT, Deferred(BUSY), rules(1), NOW),
            "EmailFailed",
            "retries_exhausted",
            "retries_exhausted",
        ),
        (verdict.after(ATTEMPT, Refused(GONE), rules(), NOW), "EmailFailed", "user_unknown", "user_unknown"),
        (verdict.failed(ATTEMPT, "lead_missing", None, NOW), "EmailFailed", "lead_missing", "lead_missing"),
        (verdict.skipped(ATTEMPT, "inactive", NOW), "EmailSkipped", "inactive", None),
        (verdict.after(ATTEMPT, Unknown(LOST), rules(), NOW), "EmailOutcomeUnknown", "resend", None),
        (
            verdict.after(ATTEMPT, Unknown(LOST), rules(4, OnUnknown.HOLD), NOW),
            "EmailOutcomeUnknown",
            "hold",
            "outcome_unknown",
        ),
    ],
)
def test_each_ending_is_told_by_its_type_and_class(
    settlement: Settlement, event_type: str, why: str, given_up: str | None
) -> None:
    told = told_by(settlement)
    assert told == Told(event_type, EVENT.subject, "mail-1", "welcome", why)
    assert told is not None and told.given_up == given_up


def test_a_settlement_without_an_outcome_tells_nothing() -> None:
    assert told_by(Settlement(keys.stream(0, keys.EMAILS), "2-0")) is None
