"""SendGrid's signed event webhook. Pure.

Twilio SendGrid documentation, "Event Webhook Reference" and "Getting Started with the Event Webhook Security Features":
ECDSA with SHA-256 over the timestamp and the raw body.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from leadstream_api.webhooks.told import (
    Told,
    address,
    decode,
    enhanced_code,
    instant,
    objects,
    ours,
    refused,
    require_fresh,
    status_code,
    text,
    unreadable,
)
from leadstream_events.suppression_rules import ReportClass

SIGNATURE: Final = "x-twilio-email-event-webhook-signature"
TIMESTAMP: Final = "x-twilio-email-event-webhook-timestamp"
_SOFT = frozenset(("mailbox unavailable", "technical", "technical failure"))
_BLOCKS = frozenset(("content", "reputation", "frequency or volume too high"))
_DROPS = {
    "bounced address": ReportClass.HARD,
    "invalid": ReportClass.HARD,
    "spam reporting address": ReportClass.COMPLAINT,
}


def read_key(value: str) -> EllipticCurvePublicKey:
    """The verification key as the settings page shows it, with or without PEM lines; ValueError for anything else."""
    lines = [line.strip() for line in value.strip().splitlines() if "-----" not in line]
    try:
        key = load_der_public_key(base64.b64decode("".join(lines), validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        raise ValueError("must be the verification key of the event webhook (base64)") from None
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("must be an ECDSA key")
    return key


def verify(key: EllipticCurvePublicKey, signature: str, timestamp: str, body: bytes, now: datetime) -> None:
    """403 unless SendGrid signed exactly this body; 400 when that was too long ago."""
    at = instant(timestamp)
    try:
        key.verify(base64.b64decode(signature, validate=True), timestamp.encode() + body, ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        raise refused() from None
    require_fresh(at, now)


def read_events(body: bytes) -> list[Told]:
    """The events in a body; 400 when it is no list."""
    value = decode(body)
    if not isinstance(value, list):
        raise unreadable("The body must be a list of events")
    return [told for item in objects(value) if (told := _told(item))]


def _told(item: dict[str, Any]) -> Told | None:
    event, event_id = text(item, "event"), text(item, "sg_event_id")
    wish = event in ("unsubscribe", "group_unsubscribe")
    found = None if wish else _class_of(event, item)
    if event_id is None or (found is None and not wish):
        return None
    reason = text(item, "reason", "response") or ""
    return Told(
        event_id=event_id,
        report_class=found,
        recipient=address(text(item, "email")),
        unsubscribed=wish,
        token=ours(item),
        message_id=text(item, "smtp-id"),
        code=status_code(reason),
        enhanced=enhanced_code(text(item, "status")) or enhanced_code(reason),
        detail=reason,
        feedback_type="abuse" if found is ReportClass.COMPLAINT else None,
    )


def _class_of(event: str | None, item: dict[str, Any]) -> ReportClass | None:
    if event == "spamreport":
        return ReportClass.COMPLAINT
    if event == "dropped":  # SendGrid's own list of addresses that bounced or complained before
        reason = (text(item, "reason") or "").lower()
        return next((found for word, found in _DROPS.items() if reason.startswith(word)), None)
    if event != "bounce":
        return None
    classified = (text(item, "bounce_classification") or "").lower()
    if text(item, "type") == "blocked" or classified in _BLOCKS:
        return ReportClass.SOFT if classified == "mailbox unavailable" else ReportClass.BLOCK
    return ReportClass.SOFT if classified in _SOFT else ReportClass.HARD
