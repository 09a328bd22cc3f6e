"""Mail providers as the API meets them: each signs what it posts with keys that the tests made."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from leadstream_api.webhooks.told import NotTaken
from leadstream_events.redis_client import Client, connect
from leadstream_events.settings import Settings, load_settings
from leadstream_events.subscribers import utc_now
from tests.integration.api.conftest import api_client

TOPIC = "arn:aws:sns:eu-west-1:123456789012:bounces"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
CONFIRM = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=abc"
MAILGUN_KEY = "key-of-mailgun"
POSTMARK_TOKEN = "a password of Postmark's"
_SHAPES = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


def _certificate(key: rsa.RSAPrivateKey, days: int = 30) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@dataclass
class Sns:
    """Amazon SNS: `fetched` are the addresses that somebody got from it; `answer` replaces the certificate."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65_537, 2048))
    fetched: list[str] = field(default_factory=list)
    answer: bytes | None = None
    down: bool = False

    async def get(self, url: str) -> bytes:
        self.fetched.append(url)
        if self.down:
            raise NotTaken(503, "provider-unreachable", "Amazon SNS could not be asked now")
        return _certificate(self.key) if self.answer is None else self.answer

    def message(self, text: Any, version: str = "1", kind: str = "Notification", **more: str) -> dict[str, str]:
        """A signed message; `more` are fields that replace those made here, and are signed too."""
        fields = {
            "Type": kind,
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Message": text if isinstance(text, str) else json.dumps(text),
            "Timestamp": utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "SigningCertURL": CERTIFICATE,
            "SignatureVersion": version,
        }
        if kind == "SubscriptionConfirmation":
            fields |= {"SubscribeURL": CONFIRM, "Token": "abc"}
        fields |= more
        signed = "".join(f"{name}\n{fields[name]}\n" for name in _SHAPES[kind] if name in fields)
        algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), algorithm)
        return fields | {"Signature": base64.b64encode(signature).decode()}

    def expired(self) -> bytes:
        """A certificate that ran out yesterday."""
        return _certificate(self.key, days=-1)


@dataclass
class SendGrid:
    """Signs bodies as SendGrid does."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def public(self) -> str:
        """As its settings page shows it."""
        der = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode()

    def headers(self, body: bytes, at: datetime | None = None) -> dict[str, str]:
        """What comes with a body."""
        stamp = str(int((at or utc_now()).timestamp()))
        signature = self.key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "Content-Type": "application/json",
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
        }


def mailgun(event: dict[str, Any], token: str = "t" * 50, at: datetime | None = None) -> dict[str, Any]:
    """A signed event of Mailgun."""
    stamp = str(int((at or utc_now()).timestamp()))
    proof = hmac.new(MAILGUN_KEY.encode(), (stamp + token).encode(), hashlib.sha256).hexdigest()
    return {"signature": {"timestamp": stamp, "token": token, "signature": proof}, "event-data": event}


@dataclass
class Providers:
    """The API with every webhook set up, and the providers that post to it."""

    api: httpx.AsyncClient
    settings: Settings
    sns: Sns
    sendgrid: SendGrid

    async def ses(self, text: Any, version: str = "1", **more: str) -> httpx.Response:
        """SNS posts JSON as text."""
        return await self.post_sns(self.sns.message(text, version, **more))

    async def post_sns(self, message: dict[str, str]) -> httpx.Response:
        return await self.api.post(
            "/webhooks/ses", content=json.dumps(message), headers={"Content-Type": "text/plain; charset=UTF-8"}
        )

    async def send(self, events: Any, at: datetime | None = None) -> httpx.Response:
        """SendGrid posts a batch."""
        body = json.dumps(events).encode()
        return await self.api.post("/webhooks/sendgrid", content=body, headers=self.sendgrid.headers(body, at))

    async def gun(self, event: dict[str, Any], token: str = "t" * 50, at: datetime | None = None) -> httpx.Response:
        """Mailgun posts an event."""
        return await self.api.post("/webhooks/mailgun", json=mailgun(event, token, at))

    async def mark(self, event: Any, password: str = POSTMARK_TOKEN) -> httpx.Response:
        """Postmark posts an event."""
        return await self.api.post("/webhooks/postmark", json=event, auth=("postmark", password))


@asynccontextmanager
async def providers(settings: Settings, **more: Any) -> AsyncIterator[Providers]:
    """Everything set up on one API."""
    sns, sendgrid = Sns(), SendGrid()
    values = {
        "webhook_ses_topics": TOPIC,
        "webhook_sendgrid_key": sendgrid.public,
        "webhook_mailgun_key": MAILGUN_KEY,
        "webhook_postmark_token": POSTMARK_TOKEN,
    }
    full = load_settings(**{**settings.model_dump(exclude_unset=True), **values, **more})
    async with api_client(full, get=sns.get) as api:
        yield Providers(api, full, sns, sendgrid)


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[Providers]:
    """The API with every provider's webhook set up."""
    async with providers(settings) as found:
        yield found


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    """The Redis that the API uses."""
    made = connect(settings.redis_url, timeout_s=5.0)
    yield made
    await made.aclose()
