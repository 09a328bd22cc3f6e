"""Only what says clearly that nobody is there is hard; what is about the sender is never held against the address."""

from __future__ import annotations

import pytest

from leadstream_events.suppression_rules import ReportClass
from leadstream_mail.bounces.status import classify, code_in, status_in

HARD, SOFT, BLOCK = ReportClass.HARD, ReportClass.SOFT, ReportClass.BLOCK


@pytest.mark.parametrize(
    ("enhanced", "code", "text", "expected"),
    [
        ("5.1.1", 550, "no such user", HARD),
        ("5.1.2", None, "", HARD),
        ("5.1.10", 556, "null MX", HARD),
        ("5.2.1", 550, "disabled", HARD),
        ("5.7.13", 525, "", HARD),
        ("5.1.8", 553, "bad sender", BLOCK),
        ("5.7.1", 550, "user unknown to our policy", BLOCK),
        ("4.7.0", 421, "try later", BLOCK),
        ("5.6.1", 554, "media not supported", BLOCK),
        ("5.2.2", 552, "mailbox full", SOFT),
        ("4.2.2", 452, "", SOFT),
        ("5.4.1", 550, "Recipient address rejected: Access denied", SOFT),
        ("5.4.4", None, "host not found", SOFT),
        ("5.0.0", 550, "user unknown", HARD),
        ("5.5.0", 550, "mailbox unavailable", SOFT),
        ("5.0.0", 554, "message looks like spam", BLOCK),
        ("5.1.0", 550, "user unknown; quota exceeded", SOFT),
        ("4.0.0", 450, "user unknown", SOFT),
        (None, 550, "No such user here", HARD),
        (None, 550, "", SOFT),
        (None, 450, "user unknown in virtual table", SOFT),
        (None, 552, "The mailbox is full", SOFT),
        (None, 554, "listed at zen.spamhaus.org", BLOCK),
        ("5.1.0", 550, "<***@a.example>: Sender address rejected: User unknown in local table", BLOCK),
        (None, 550, "unknown sender", BLOCK),
        (None, None, "", SOFT),
    ],
)
def test_class(enhanced: str | None, code: int | None, text: str, expected: ReportClass) -> None:
    assert classify(enhanced, code, text) is expected


def test_a_status_that_says_something_goes_before_one_that_does_not() -> None:
    assert status_in("5.0.0", "smtp; 550 5.1.1 unknown") == "5.1.1"
    assert status_in("5.0.0", "smtp; 550 no") == "5.0.0"
    assert status_in("", "nothing") is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("smtp; 550 5.1.1 no", 550),
        ("550-5.7.1 blocked", 550),
        ("smtp;421 later", 421),
        ("host mx said: 553 no", 553),
        ("x-unix; 67", None),
        ("smtp; 5.1.1 no code", None),
        ("the year 550", None),
        ("", None),
    ],
)
def test_code(text: str, code: int | None) -> None:
    assert code_in(text) == code
