"""Postmark's webhooks: bounces, complaints and subscription changes. Pure.

Postmark developer documentation, "Bounce webhook", "Spam complaint webhook", "Subscription change webhook" and "Bounce
API" (types). Postmark does not sign: the address that it is given holds a user and a password.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any

from leadstream_api.webhooks.told import (
    NotTaken,
    Told,
    address,
    decode,
    enhanced_code,
    ours,
    part,
    status_code,
    text,
    unreadable,
)
from leadstream_events.suppression_rules import ReportClass

REALM = 'Basic realm="leadstream webhooks", charset="UTF-8"'
_CLASSES = {
    "HardBounce": ReportClass.HARD,
    "BadEmailAddress": ReportClass.HARD,
    "SoftBounce": ReportClass.SOFT,
    "DnsError": ReportClass.SOFT,
    "Unknown": ReportClass.SOFT,
    "Blocked": ReportClass.BLOCK,
    "SpamNotification": ReportClass.BLOCK,
    "VirusNotification": ReportClass.BLOCK,
    "DMARCPolicy": ReportClass.BLOCK,
    "SMTPApiError": ReportClass.BLOCK,
    "ManuallyDeactivated": ReportClass.BLOCK,
    "SpamComplaint": ReportClass.COMPLAINT,
}


def verify(token: bytes, authorization: str) -> None:
    """401 unless the password (of any user) or the bearer token is ours."""
    scheme, _, value = authorization.partition(" ")
    sent = b""
    if scheme.lower() == "basic":
        try:
            sent = base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            sent = b""
    elif scheme.lower() == "bearer":
        sent = value.strip().encode("utf-8", "replace")
    if not hmac.compare_digest(sent, token):
        raise NotTaken(401, "credentials", "The password of the webhook is wrong")


def read_events(body: bytes) -> list[Told]:
    """The event, if it says something of a bounce, complaint or wish; 400 when the body is no object."""
    value = decode(body)
    if not isinstance(value, dict):
        raise unreadable("The body must be an object")
    match text(value, "RecordType"):
        case "Bounce" | "SpamComplaint":
            return _reports(value)
        case "SubscriptionChange":
            return _wishes(value)
    return []


def _reports(value: dict[str, Any]) -> list[Told]:
    kind = text(value, "Type") or ""
    found, number = _CLASSES.get(kind), value.get("ID")
    wish = kind == "Unsubscribe"
    if type(number) is not int or (found is None and not wish):
        return []
    detail = text(value, "Details", "Description") or kind
    return [
        Told(
            event_id=f"bounce {number}",
            report_class=found,
            recipient=address(text(value, "Email")),
            unsubscribed=wish,
            token=ours(part(value, "Metadata")),
            code=status_code(detail.removeprefix("smtp;").strip()),
            enhanced=enhanced_code(detail),
            detail=detail,
            feedback_type="abuse" if found is ReportClass.COMPLAINT else None,
        )
    ]


def _wishes(value: dict[str, Any]) -> list[Told]:
    """Only what the recipient did himself: bounces and complaints have events of their own."""
    own = text(value, "SuppressionReason") == "ManualSuppression" and text(value, "Origin") == "Recipient"
    if value.get("SuppressSending") is not True or not own:
        return []
    event_id = f"change {text(value, 'MessageID')} {text(value, 'ChangedAt')} {text(value, 'Recipient')}"
    recipient = address(text(value, "Recipient"))
    return [Told(event_id, None, recipient, unsubscribed=True, token=ours(part(value, "Metadata")))]
