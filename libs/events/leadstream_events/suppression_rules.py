"""When an address gets no more mail because of what came back from it. Pure: reports and a time in, a decision out.

A hard bounce or a complaint ends it at once, and until a person releases the address. Soft bounces do so after a number
of them in a time, and for a while only: a full mailbox may be emptied. A block is about the sender and never about the
address.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class ReportClass(StrEnum):
    """What a mail that came in says of one that was accepted before."""

    HARD = "hard"
    SOFT = "soft"
    BLOCK = "block"
    COMPLAINT = "complaint"
    # An answering machine: nothing follows.
    AUTO_REPLY = "auto_reply"
    # Nothing that these rules know, or a report of a delay: for a person to look at.
    NOT_A_BOUNCE = "not_a_bounce"


# What is stored about a mail.
REPORTS = (ReportClass.HARD, ReportClass.SOFT, ReportClass.BLOCK, ReportClass.COMPLAINT)


# RFC 5965 section 7.3 and what providers send beside it: none of these says that the recipient wants no more mail.
NO_COMPLAINTS = frozenset(("not-spam", "auth-failure", "virus"))
SOFT_LASTS = timedelta(days=30)
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class SuppressionRules:
    """`soft_bounces` reports within `within_s` seconds suppress an address; 0 never does."""

    soft_bounces: int = 5
    within_s: float = 7.0 * _DAY_S


@dataclass(frozen=True, slots=True)
class Verdict:
    """The address is to be suppressed: why, in words for people, and until when (None: until it is released)."""

    reason: str
    expires_at: datetime | None = None


def is_complaint(feedback_type: str) -> bool:
    """True when a feedback report (RFC 5965) says that the recipient did not want the mail; unknown types count."""
    return feedback_type.strip().lower() not in NO_COMPLAINTS


def judge(
    report_class: ReportClass, detail: str, soft_before: int, rules: SuppressionRules, now: datetime
) -> Verdict | None:
    """Returns what follows from a report, or None. `soft_before`: soft bounces in the time, this one among them.

    `detail` is a status or feedback type that stands in the reason, for example `5.1.1`.
    """
    if report_class is ReportClass.HARD:
        return Verdict(f"hard bounce {detail}".strip())
    if report_class is ReportClass.COMPLAINT:
        return Verdict(f"complaint {detail}".strip()) if is_complaint(detail) else None
    if report_class is ReportClass.SOFT and 0 < rules.soft_bounces <= soft_before:
        days = f"{rules.within_s / _DAY_S:g} days"
        return Verdict(f"{soft_before} soft bounces within {days}", now + SOFT_LASTS)
    return None
