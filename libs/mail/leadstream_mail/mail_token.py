"""The header that says which of our mails a mail is, wherever it turns up again: `X-Leadstream-Mail`. Pure.

A report that carries the original mail, or its headers, is believed by it even when its own envelope says nothing:
complaints come to one address. The token names lead and mail and is signed.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from leadstream_events import tokens
from leadstream_events.ids import uuid_bytes
from leadstream_events.tokens import Purpose

HEADER: Final = "X-Leadstream-Mail"
_UUID_BYTES = 16


def mail_token(secrets: Sequence[bytes], lead_id: str, email_id: str) -> str | None:
    """Returns the header's value; None for ids that are no UUIDs in their usual spelling (imported mails)."""
    lead, email = uuid_bytes(lead_id), uuid_bytes(email_id)
    if lead is None or email is None:
        return None
    return tokens.to_link(tokens.sign(secrets, Purpose.MAIL, lead + email))


def read_mail_token(secrets: Sequence[bytes], text: str) -> tuple[str, str] | None:
    """Returns (lead id, email id) of a value that we signed; None for anything else."""
    token = tokens.from_link(text.strip())
    payload = tokens.read(secrets, Purpose.MAIL, token) if token is not None else None
    if payload is None or len(payload) != 2 * _UUID_BYTES:
        return None
    return str(uuid.UUID(bytes=payload[:_UUID_BYTES])), str(uuid.UUID(bytes=payload[_UUID_BYTES:]))
