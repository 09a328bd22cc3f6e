"""How values are written for people: pure functions that the templates use as filters."""

from __future__ import annotations

from datetime import UTC, datetime

import minijinja

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LONG_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WORDS = {
    "LeadReceived": "Lead received",
    "LeadErased": "Personal data erased",
    "EmailRequested": "Requested",
    "EmailSent": "Sent",
    "EmailDeferred": "Deferred",
    "EmailFailed": "Failed",
    "EmailSkipped": "Skipped",
    "EmailOutcomeUnknown": "Outcome unknown",
    "EmailBounced": "Bounced",
    "EmailComplained": "Complaint",
    "DeadLetterRedriven": "Sent again by a person",
    "DeadLetterDropped": "Dropped by a person",
    "MailSettled": "Settled by a person",
}
_CAUSES = {
    "retries_exhausted": "every retry was used up",
    "outcome_unknown": "nobody knows whether it was sent",
    "hold": "kept for a person to settle",
    "resend": "sent once more with the same Message-ID",
    "poison": "never finished, delivered too often",
    "lost_trimmed": "the entry was trimmed away",
    "future_version": "written by a newer version",
    "bad_data": "the entry cannot be read",
    "missing_field": "the entry cannot be read",
    "template": "a mail template failed on this lead",
    "unsendable_address": "the address cannot be written safely",
    "lead_missing": "the lead is not stored any more",
    "erased": "the lead's personal data was erased",
    "key_missing": "the lead's key needs a key-encryption key that is not in the keys file",
    "bad_seal": "the sealed data does not fit the lead's key",
    "lead_unreadable": "the lead cannot be read",
}


def number(value: int | None) -> str:
    """`12,345`; a dash for nothing."""
    return "–" if value is None else f"{value:,}"


def at_least(value: int, exact: bool) -> str:
    """`12,345`, or `12,345+` where counting was given up."""
    return number(value) + ("" if exact else "+")


def duration(seconds: float | None) -> str:
    """`3 s`, `2 min`, `1 h 5 min`, `4 d`; a dash for nothing."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return "< 1 s"
    if seconds < 60:
        return f"{int(seconds)} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h" if minutes < 7 * 1440 else f"{minutes // 1440} d"


def instant(value: datetime | str | None) -> datetime | None:
    """A time as a value, whichever way it came."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def when(value: datetime | str | None, seconds: bool = True) -> str:
    """A `<time>` in UTC: `25 Nov 13:39:43`, the whole of it on hovering."""
    at = instant(value)
    if at is None:
        return "–"
    at = at.astimezone(UTC)
    clock = f"{at:%H:%M:%S}" if seconds else f"{at:%H:%M}"
    shown = f"{at.day} {_MONTHS[at.month - 1]} {clock}"
    full = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return minijinja.safe(f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}" title="{full}">{shown}</time>')


def day(value: datetime | str | None) -> str:
    """`28 March 2026` as a `<time>`, in UTC."""
    at = instant(value)
    if at is None:
        return "–"
    at = at.astimezone(UTC)
    return minijinja.safe(
        f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}">{at.day} {_LONG_MONTHS[at.month - 1]} {at.year}</time>'
    )


def short(value: str | None) -> str:
    """An id short enough for a table: its end, which differs most."""
    return "–" if not value else (f"…{value[-12:]}" if len(value) > 16 else value)


def event_word(name: str) -> str:
    """An event's name in words."""
    return _WORDS.get(name, name)


def cause_word(cause: str | None) -> str:
    """What a cause means; '' where its name says it all."""
    if cause and cause.startswith("smtp_"):
        return f"refused by the SMTP server with {cause[5:]}"
    return _CAUSES.get(cause or "", "")


def percent(part: int, whole: int) -> float:
    """0 to 100, never above."""
    return min(100.0, 100 * part / whole) if whole else 0.0
