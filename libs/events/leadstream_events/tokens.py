"""Signed tokens: whoever holds one was given it by us, and cannot make another. Pure.

A token is a payload and the start of its HMAC-SHA256 (RFC 2104; truncation: section 5), bound to one purpose, so that a
token of one kind is worth nothing as another. It hides nothing of the payload. Several secrets may be in force: the
first one signs, all of them are tried when a token is read, so a secret can be replaced while old mails are around.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from enum import StrEnum

MAC_BYTES = 10


class Purpose(StrEnum):
    """What a token is for."""

    UNSUBSCRIBE = "unsubscribe"
    RETURN_PATH = "return path"
    MAIL = "mail"


def _mac(secret: bytes, purpose: Purpose, payload: bytes) -> bytes:
    return hmac.digest(secret, purpose.value.encode() + b"\0" + payload, hashlib.sha256)[:MAC_BYTES]


def sign(secrets: Sequence[bytes], purpose: Purpose, payload: bytes) -> bytes:
    """Returns the payload and its proof."""
    return payload + _mac(secrets[0], purpose, payload)


def read(secrets: Sequence[bytes], purpose: Purpose, token: bytes) -> bytes | None:
    """Returns the payload of a token that was signed for this purpose, or None; takes the same time for any forgery."""
    if len(token) < MAC_BYTES:
        return None
    payload, proof = token[:-MAC_BYTES], token[-MAC_BYTES:]
    matches = [hmac.compare_digest(proof, _mac(secret, purpose, payload)) for secret in secrets]
    return payload if any(matches) else None


def to_link(token: bytes) -> str:
    """Returns a token as URL-safe text (RFC 4648 section 5, without padding)."""
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def from_link(text: str) -> bytes | None:
    """Reads what `to_link` wrote, in its one spelling; None for anything else."""
    try:
        token = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    return token if to_link(token) == text else None


def to_local_part(token: bytes) -> str:
    """Returns a token in letters and digits of one case: mail servers may change the case of a local part.

    RFC 4648 section 6 without padding, in lower case; 8 characters for 5 octets.
    """
    return base64.b32encode(token).rstrip(b"=").decode().lower()


def from_local_part(text: str) -> bytes | None:
    """Reads what `to_local_part` wrote, in any case; None for anything else."""
    try:
        token = base64.b32decode(text.upper().encode("ascii") + b"=" * (-len(text) % 8))
    except (binascii.Error, UnicodeEncodeError):
        return None
    return token if to_local_part(token) == text.lower() else None
