"""What a provider tells of one mail, whichever provider it is. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from enum import StrEnum
from typing import Any

import msgspec

from leadstream_events.suppression_rules import ReportClass
from leadstream_mail.provider_headers import NAME

# Providers repeat a report for less than a day; whatever is older was recorded long ago, or is a replay.
OLDEST = timedelta(hours=24)
AHEAD = timedelta(minutes=10)
_MOST_CHARS = 500


class NotTaken(Exception):
    """What came is refused: an HTTP status, the kind of problem, and a sentence that tells no secret."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(kind)
        self.status, self.kind, self.detail = status, kind, detail


class Provider(StrEnum):
    """Whose webhooks there are."""

    SES = "ses"
    SENDGRID = "sendgrid"
    MAILGUN = "mailgun"
    POSTMARK = "postmark"


@dataclass(frozen=True, slots=True)
class Told:
    """One event of one recipient. `report_class` None with `unsubscribed`: the recipient asked the provider.

    `token` is our signed name of the mail where the provider gives it back; `lead_id` our plain header, believed since
    the provider is; `message_id` the Message-ID that the mail had when we sent it.
    """

    event_id: str
    report_class: ReportClass | None
    recipient: str | None
    unsubscribed: bool = False
    token: str | None = None
    lead_id: str | None = None
    message_id: str | None = None
    code: int | None = None
    enhanced: str | None = None
    detail: str = ""
    feedback_type: str | None = None

    def report_id(self, provider: Provider) -> str:
        """Names the event for good, whatever characters the provider's own name has."""
        return f"{provider}:{hashlib.sha256(self.event_id.encode()).hexdigest()[:40]}"


def decode(body: bytes | str) -> Any:
    """The body as JSON; 400 when it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise unreadable("The body is not valid JSON") from None


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; nothing of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def part(value: Any, *path: str) -> dict[str, Any]:
    """The object at a path; an empty one where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def text(value: Any, *names: str) -> str | None:
    """The first of these fields that is a text that says something, on one line and cut."""
    for name in names:
        found = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(found, str) and found.strip():
            return " ".join(found.split())[:_MOST_CHARS]
    return None


def address(value: str | None) -> str | None:
    """The address in `Name <a@b>`; None when it is none."""
    found = parseaddr(value or "")[1]
    return found if "@" in found and len(found) <= 320 else None


def status_code(value: Any) -> int | None:
    """An SMTP reply code, as a number or as a text that starts with one."""
    start = value[:3] if isinstance(value, str) else str(value) if type(value) is int else ""
    return int(start) if start.isascii() and start.isdigit() and 200 <= int(start) <= 599 else None


def enhanced_code(value: str | None) -> str | None:
    """An enhanced status code (RFC 3463), the first in a text."""
    for word in (value or "").replace("#", " ").split():
        numbers = word.strip(".,;()[]").split(".")
        if len(numbers) == 3 and numbers[0] in ("2", "4", "5") and all(_is_status(each) for each in numbers[1:]):
            return ".".join(numbers)
    return None


def _is_status(number: str) -> bool:
    return number.isascii() and number.isdigit() and len(number) <= 3


def ours(values: Mapping[str, Any]) -> str | None:
    """Our token among the values that a provider carried for us, whatever it made of the name."""
    for name, value in values.items():
        if isinstance(name, str) and name.lower().replace("_", "-") == NAME:
            found = value[0] if isinstance(value, list) and value else value
            return found if isinstance(found, str) else None
    return None


def unique(events: Iterable[Told]) -> list[Told]:
    """Each event once: batches may name one twice."""
    return list({(each.event_id, each.recipient): each for each in events}.values())


def instant(seconds: str) -> datetime:
    """Seconds since 1970, written in digits; 403 for anything else, since every provider writes its time so."""
    if not seconds.isascii() or not seconds.isdigit() or len(seconds) > 11:
        raise refused()
    return datetime.fromtimestamp(int(seconds), UTC)


def require_fresh(at: datetime, now: datetime) -> None:
    """400 for a signature that is too old, or from the future."""
    if not now - OLDEST <= at <= now + AHEAD:
        raise NotTaken(400, "stale-signature", "The signature's time is too far from now; check the clocks")


def unreadable(detail: str) -> NotTaken:
    """400: this is nothing that the provider sends."""
    return NotTaken(400, "unreadable-body", detail)


def refused() -> NotTaken:
    """403 without a hint at which part was wrong."""
    return NotTaken(403, "signature", "The signature does not prove that this comes from the provider")
