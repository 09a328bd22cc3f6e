"""Mailgun's webhooks. Pure.

Mailgun documentation, "Webhooks" and "Securing Webhooks": HMAC-SHA256 over timestamp and token. The signature does not
cover the event, so a token must not be taken with a second body (`recording.py` sees to that).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from leadstream_api.webhooks.told import (
    Told,
    address,
    decode,
    enhanced_code,
    instant,
    ours,
    part,
    refused,
    require_fresh,
    status_code,
    text,
    unreadable,
)
from leadstream_events.suppression_rules import ReportClass

# Reasons of a permanent failure that have nothing to do with the address itself, or that tell of something older.
_REASONS = {
    "espblock": ReportClass.BLOCK,
    "suppress-bounce": ReportClass.HARD,
    "suppress-complaint": ReportClass.COMPLAINT,
    "old": ReportClass.SOFT,
    "generic": None,
}


@dataclass(frozen=True, slots=True)
class Signed:
    """A body whose signature was right. `token` is Mailgun's, and meant for this body alone."""

    token: str
    event: dict[str, Any]


def verify(key: bytes, body: bytes, now: datetime) -> Signed:
    """403 unless Mailgun made the signature, 400 for another shape and for a signature of long ago."""
    value = decode(body)
    event, signature = part(value, "event-data"), part(value, "signature")
    timestamp, token, proof = (str(signature.get(name, "")) for name in ("timestamp", "token", "signature"))
    if not event or not timestamp or not proof or not 0 < len(token) <= 200:
        raise unreadable("This is no signed event of Mailgun")
    at = instant(timestamp)
    made = hmac.new(key, (timestamp + token).encode("utf-8", "replace"), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(made.encode(), proof.encode("utf-8", "replace")):
        raise refused()
    require_fresh(at, now)
    return Signed(token, event)


def read_events(event: dict[str, Any]) -> list[Told]:
    """The event, if it says something of a bounce, complaint or wish. Mailgun itself goes on after a delay."""
    event_id, kind, reason = text(event, "id"), text(event, "event"), text(event, "reason") or ""
    status = part(event, "delivery-status")
    wish = kind == "unsubscribed" or (kind == "failed" and reason == "suppress-unsubscribe")
    found = None if wish else _class_of(kind, reason, event, status)
    if event_id is None or (found is None and not wish):
        return []
    detail = text(status, "message", "description") or reason
    return [
        Told(
            event_id=event_id,
            report_class=found,
            recipient=address(text(event, "recipient")),
            unsubscribed=wish,
            token=ours(part(event, "user-variables")),
            message_id=text(part(event, "message", "headers"), "message-id"),
            code=status_code(status.get("code")),
            enhanced=enhanced_code(text(status, "enhanced-code")) or enhanced_code(detail),
            detail=detail,
            feedback_type="abuse" if found is ReportClass.COMPLAINT else None,
        )
    ]


def _class_of(kind: str | None, reason: str, event: dict[str, Any], status: dict[str, Any]) -> ReportClass | None:
    if kind == "complained":
        return ReportClass.COMPLAINT
    if kind != "failed" or text(event, "severity") != "permanent":
        return None
    special = _REASONS.get(reason)
    if special is not None:
        return special
    return ReportClass.SOFT if text(status, "bounce-type") == "soft" else ReportClass.HARD
