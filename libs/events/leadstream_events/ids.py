"""Identifiers: time-ordered where they are made, derived where two parties must agree on them."""

from __future__ import annotations

import hashlib
import re
import uuid

import idna
import uuid_utils

# Namespaces of derived ids (RFC 9562 section 5.5); random constants, never to change.
_LEAD_NS = uuid.UUID("6f3b1a52-4a8e-5d0c-9b61-0c5f3f6f7a11")
_EMAIL_NS = uuid_utils.UUID("b1d7c9de-0f2a-5b7e-8a44-7f2a4f1d9c02")

_USUAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

WELCOME_RECIPIENT = "lead"


def new_id() -> str:
    """Returns a fresh UUIDv7 (RFC 9562 section 5.7): sortable by the millisecond it was made in."""
    return str(uuid_utils.uuid7())


def lead_id_for_key(scope: str, idempotency_key: str) -> str:
    """Returns the lead id that an idempotency key stands for.

    Derived, so a repeated request finds its first answer with no lookup table, in Redis and in the spool alike.
    """
    return str(uuid.uuid5(_LEAD_NS, f"{scope}\x00{idempotency_key}"))


def email_id(lead_id: str, kind: str, recipient: str) -> str:
    """Returns the id of the one mail of this kind to this recipient (a subscriber id, or `WELCOME_RECIPIENT`).

    The recipient is the subscriber and not his address: a corrected address must not make a second mail.
    """
    return str(uuid_utils.uuid5(_EMAIL_NS, f"{lead_id}\x00{kind}\x00{recipient}"))


def message_id(email: str, mail_from: str) -> str:
    """Returns the Message-ID (RFC 5322 section 3.6.4) of a mail; equal on every attempt, an IDN domain as A-label."""
    domain = mail_from.rpartition("@")[2] or "localhost"
    return f"<{email}@{domain if domain.isascii() else idna.encode(domain, uts46=True).decode()}>"


def uuid_bytes(text: str) -> bytes | None:
    """Returns the 16 octets of a UUID; None for any other text, also for a UUID that is not in its usual spelling."""
    return bytes.fromhex(text.replace("-", "")) if _USUAL.fullmatch(text) else None


def partition_of(lead_id: str, partitions: int) -> int:
    """Returns the partition that holds all streams of this lead; stable over processes and versions."""
    if partitions == 1:
        return 0
    digest = hashlib.blake2b(lead_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % partitions
