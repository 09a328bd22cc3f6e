"""The API behind a translation of the yardstick's lead, whose shape is `{id, contact, message, vehicles}`.

The translation belongs to the benchmark and its cost is part of what is measured.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from leadstream_events.settings import Settings, load_settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Vehicle(msgspec.Struct):
    """A vehicle of the yardstick; ours has the same fields."""

    year: int
    make: str
    model: str
    vin: str


class Contact(msgspec.Struct):
    """The person of the yardstick."""

    name: str
    email: str
    phone: str


class Theirs(msgspec.Struct):
    """The lead of the yardstick."""

    id: str
    contact: Contact
    message: str
    vehicles: list[Vehicle]


class Ours(msgspec.Struct):
    """The lead as `POST /leads` takes it."""

    full_name: str
    email: str
    phone_number: str
    vehicles: list[Vehicle]
    metadata: dict[str, str]


_decode = msgspec.json.Decoder(Theirs).decode
_encode = msgspec.json.Encoder().encode


def translate(body: bytes) -> bytes:
    """Returns our lead; nothing of theirs is left out, so the mails are as long as the peers' are."""
    lead = _decode(body)
    contact = lead.contact
    metadata = {"reference": lead.id, "message": lead.message}
    return _encode(Ours(contact.name, contact.email, contact.phone, lead.vehicles, metadata))


def bench_settings() -> Settings:
    """The product's settings from the yardstick's environment; every guarantee stays on."""
    return load_settings(
        redis_url=os.environ["REDIS_URL"],
        smtp_url=f"smtp://{os.environ['SMTP_HOST']}:{os.environ['SMTP_PORT']}",
        rate_limit=None,
        api_port=int(os.environ["PORT"]),
        data_dir=os.path.join(os.environ.get("TMPDIR", "/tmp"), f"leadstream-bench-{os.environ['PORT']}"),  # noqa: PTH118
    )


class Adapter:
    """ASGI: translates the body of `POST /leads` and answers `/health`; everything else passes through."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.state = inner.state  # the server looks there for live views

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection of the ASGI protocol."""
        if scope["type"] == "http" and scope["path"] == "/health":
            scope = {**scope, "path": "/health/live", "raw_path": b"/health/live"}
        elif scope["type"] == "http" and scope["method"] == "POST":
            scope, receive = await self._translated(scope, receive)
        await self._inner(scope, receive, send)

    async def _translated(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = translate(b"".join(parts))
        headers = [item for item in scope["headers"] if item[0] != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        sent = False

        async def again() -> MutableMapping[str, Any]:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        return {**scope, "headers": headers}, again
