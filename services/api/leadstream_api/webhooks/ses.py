"""Amazon SES by way of SNS: the signature of an SNS message, and the events in it. Pure.

Amazon SNS developer guide, "Verifying the signatures of Amazon SNS messages"; Amazon SES developer guide, "Amazon SNS
notification contents" and "Contents of event data". Raw delivery is not taken: it has no signature.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from leadstream_api.webhooks.told import (
    NotTaken,
    Told,
    address,
    decode,
    enhanced_code,
    objects,
    ours,
    part,
    refused,
    status_code,
    text,
    unreadable,
)
from leadstream_events.suppression_rules import ReportClass

NOTIFICATION: Final = "Notification"
CONFIRMATION: Final = "SubscriptionConfirmation"
FAREWELL: Final = "UnsubscribeConfirmation"
_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    FAREWELL: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_HASHES = {"1": hashes.SHA1, "2": hashes.SHA256}
_HOST = re.compile(r"sns\.[a-z]{2}(?:-[a-z0-9]+){1,4}\.amazonaws\.com(?:\.cn)?")
_CERTIFICATE = re.compile(r"/[A-Za-z0-9._-]{1,100}\.pem")
_BLOCKS = frozenset(("MessageTooLarge", "ContentRejected", "AttachmentRejected"))


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """A message as it came; nothing in it is to be believed before `verify`."""

    kind: str
    topic: str
    at: datetime
    certificate_url: str
    fields: dict[str, str]


def read_message(body: bytes) -> SnsMessage:
    """Reads the message around an event; 400 for another shape."""
    value = decode(body)
    fields = {name: item for name, item in value.items() if isinstance(item, str)} if isinstance(value, dict) else {}
    kind = fields.get("Type", "")
    required = [name for name in _SIGNED.get(kind, ()) if name != "Subject"]
    wanted = [*required, "Signature", "SignatureVersion", "SigningCertURL"]
    if not required or any(name not in fields for name in wanted):
        raise unreadable("This is no signed SNS message; raw message delivery must be off")
    try:
        at = datetime.fromisoformat(fields["Timestamp"])
    except ValueError:
        raise unreadable("Timestamp is not a time") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return SnsMessage(kind, fields["TopicArn"], at, fields["SigningCertURL"], fields)


def is_of_sns(url: str, *, certificate: bool) -> bool:
    """True for an https address of SNS itself: nothing else is ever fetched."""
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "https" and parts.netloc == parts.hostname and not parts.fragment
    except ValueError:
        return False
    if not plain or not url.isascii() or not url.isprintable() or "\\" in url or not _HOST.fullmatch(parts.netloc):
        return False
    if certificate:
        return not parts.query and bool(_CERTIFICATE.fullmatch(parts.path))
    return parts.path in ("", "/") and "Action=ConfirmSubscription" in parts.query.split("&")


def verify(message: SnsMessage, certificate: x509.Certificate, now: datetime) -> None:
    """403 unless the certificate's key signed the message and is in force."""
    algorithm, key = _HASHES.get(message.fields["SignatureVersion"]), certificate.public_key()
    if algorithm is None or not isinstance(key, RSAPublicKey):
        raise refused()
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise NotTaken(403, "signature", "The certificate of the signature is not in force")
    names = [name for name in _SIGNED[message.kind] if name in message.fields]
    signed = "".join(f"{name}\n{message.fields[name]}\n" for name in names)
    try:
        signature = base64.b64decode(message.fields["Signature"], validate=True)
        key.verify(signature, signed.encode("utf-8", "surrogatepass"), PKCS1v15(), algorithm())
    except (InvalidSignature, binascii.Error, ValueError):
        raise refused() from None


def read_events(message: SnsMessage) -> list[Told]:
    """The events in a verified notification; none for what says nothing of a bounce, complaint or wish."""
    try:
        value = decode(message.fields["Message"])
    except NotTaken:  # a test message of a person is a text, and no fault
        return []
    mail = part(value, "mail")
    common = {
        "token": _token(mail),
        "lead_id": _header(mail, "X-Leadstream-Lead"),
        "message_id": text(part(mail, "commonHeaders"), "messageId") or _header(mail, "Message-ID"),
    }
    match text(value, "notificationType", "eventType"):
        case "Bounce":
            return _bounces(part(value, "bounce"), message, common)
        case "Complaint":
            return _complaints(part(value, "complaint"), message, common)
        case "Subscription":
            return _wishes(part(value, "subscription"), mail, message, common)
    return []


def _bounces(bounce: dict[str, Any], message: SnsMessage, common: dict[str, Any]) -> list[Told]:
    kind, sub = text(bounce, "bounceType"), text(bounce, "bounceSubType") or ""
    found = ReportClass.HARD if kind == "Permanent" else ReportClass.SOFT
    if sub in _BLOCKS:
        found = ReportClass.BLOCK
    name = text(bounce, "feedbackId") or message.fields["MessageId"]
    return [
        Told(
            event_id=f"{name} {address(text(item, 'emailAddress'))}",
            report_class=found,
            recipient=address(text(item, "emailAddress")),
            code=status_code((text(item, "diagnosticCode") or "").partition(";")[2].strip()),
            enhanced=enhanced_code(text(item, "status")) or enhanced_code(text(item, "diagnosticCode")),
            detail=text(item, "diagnosticCode") or f"{kind} {sub}".strip(),
            **common,
        )
        for item in objects(bounce.get("bouncedRecipients"))
    ]


def _complaints(complaint: dict[str, Any], message: SnsMessage, common: dict[str, Any]) -> list[Told]:
    name = text(complaint, "feedbackId") or message.fields["MessageId"]
    return [
        Told(
            event_id=f"{name} {address(text(item, 'emailAddress'))}",
            report_class=ReportClass.COMPLAINT,
            recipient=address(text(item, "emailAddress")),
            feedback_type=text(complaint, "complaintFeedbackType") or "abuse",
            **common,
        )
        for item in objects(complaint.get("complainedRecipients"))
    ]


def _wishes(wish: dict[str, Any], mail: dict[str, Any], message: SnsMessage, common: dict[str, Any]) -> list[Told]:
    """SES' own list management: what the recipient chose on Amazon's page."""
    chosen = part(wish, "newTopicPreferences").get("unsubscribeAll")
    destinations = mail.get("destination")
    if chosen is not True or not isinstance(destinations, list):
        return []
    found = [address(each) for each in destinations if isinstance(each, str)]
    name = message.fields["MessageId"]
    return [Told(f"{name} {each}", None, each, unsubscribed=True, **common) for each in found if each]


def _token(mail: dict[str, Any]) -> str | None:
    return _header(mail, "X-Leadstream-Mail") or ours(part(mail, "tags"))


def _header(mail: dict[str, Any], wanted: str) -> str | None:
    for item in objects(mail.get("headers")):
        if (text(item, "name") or "").lower() == wanted.lower():
            return text(item, "value")
    return None
