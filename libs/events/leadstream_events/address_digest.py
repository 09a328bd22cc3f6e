"""An address as its digest: for the lead's own address, of which erasure must leave nothing behind. Pure.

HMAC-SHA256 under the signing secret, cut to 128 bits: who has the list alone cannot try addresses against it.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from leadstream_events.schemas.lead import address_key, normal_address

_DIGEST = re.compile(r"hmac:[0-9a-f]{32}")
_PURPOSE = b"suppressed address\0"


def digest(secret: bytes, address: str) -> str:
    """Returns `hmac:` and 32 hexadecimal digits, the same for every spelling of an address."""
    return "hmac:" + hmac.digest(secret, _PURPOSE + address_key(address).encode(), hashlib.sha256)[:16].hex()


def is_digest(text: str) -> bool:
    """True for what `digest` writes."""
    return bool(_DIGEST.fullmatch(text))


def address_or_digest(value: str) -> str:
    """Returns an address in its one spelling (`normal_address`), or a digest as it is; ValueError for anything else."""
    return value if is_digest(value) else normal_address(value)
