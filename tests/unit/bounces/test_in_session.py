"""Which refusals in session are about the recipient: everything else is ours, or says nothing of anybody."""

from __future__ import annotations

import pytest

from leadstream_events.schemas.events import SmtpFailure
from leadstream_events.suppression_rules import ReportClass
from leadstream_mail.bounces.in_session import refusal_class

HARD, SOFT = ReportClass.HARD, ReportClass.SOFT


@pytest.mark.parametrize(
    ("phase", "code", "enhanced", "line", "expected"),
    [
        ("rcpt", 550, "5.1.1", "no such user", HARD),
        ("rcpt", 550, None, "user unknown", HARD),
        ("rcpt", 556, "5.1.10", "null MX", HARD),
        ("rcpt", 552, "5.2.2", "mailbox full", SOFT),
        ("rcpt", 452, "4.2.2", "mailbox full", SOFT),
        ("rcpt", 550, "5.4.1", "Recipient address rejected: Access denied", SOFT),
        ("rcpt", 550, None, "no", SOFT),
        ("rcpt", 550, "5.7.1", "user unknown to our policy", None),
        ("rcpt", 554, None, "your address is on a blocklist", None),
        ("rcpt", 553, "5.1.8", "sender unknown", None),
        ("rcpt", 550, "5.1.0", "Sender address rejected: User unknown", None),
        ("rcpt", 450, "4.7.1", "greylisted", None),
        ("rcpt", 554, "5.7.0", "Relay access denied", None),
        ("mail", 550, "5.1.1", "no such user", None),
        ("body", 550, "5.1.1", "no such user", HARD),
        ("body", 552, "5.2.2", "over quota", SOFT),
        ("body", 550, None, "user unknown", None),
        ("body", 554, "5.6.0", "bad content", None),
        ("body", 554, "5.3.4", "too large", None),
        ("connect", None, None, "", None),
        ("rcpt", None, None, "connection lost", None),
    ],
)
def test_refusal(phase: str, code: int | None, enhanced: str | None, line: str, expected: ReportClass | None) -> None:
    failure = SmtpFailure(permanent=True, phase=phase, code=code, enhanced=enhanced, line=line)
    assert refusal_class(failure) is expected


def test_a_mail_that_failed_without_an_answer_says_nothing_of_its_recipient() -> None:
    assert refusal_class(None) is None
