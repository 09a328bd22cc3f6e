"""What lets a subscriber end his mails: a signed link, and the headers that carry it. Pure.

The token holds the subscriber's id and no time: it never expires, and its mails are equal bytes on every path and
attempt. Whoever has it can do one thing, which can be undone. It ends with the secret that signed it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from leadstream_events import tokens
from leadstream_events.ids import uuid_bytes
from leadstream_events.tokens import Purpose

PATH: Final = "/unsubscribe/"
TOKEN_CHARS: Final = 36  # of a subscriber whose id is a UUID
NO_TOKEN: Final = "0" * TOKEN_CHARS  # in mails to nobody: previews and samples
SAMPLE_PATH: Final = PATH + NO_TOKEN
ONE_CLICK: Final = ("List-Unsubscribe", "One-Click")
_UUID, _TEXT = b"u", b"t"


def token_of(secrets: Sequence[bytes], subscriber_id: str) -> str:
    """Returns the token of a subscriber; 36 characters where the id is a UUID, as ours are."""
    return tokens.to_link(tokens.sign(secrets, Purpose.UNSUBSCRIBE, _packed(subscriber_id)))


def link(public_url: str, secrets: Sequence[bytes], subscriber_id: str) -> str:
    """Returns the address of the page on which a subscriber pauses or ends his mails."""
    return public_url.rstrip("/") + PATH + token_of(secrets, subscriber_id)


def unsubscribe_headers(
    public_url: str, secrets: Sequence[bytes], subscriber_id: str, mailto: str | None = None
) -> Mapping[str, str]:
    """Returns `List-Unsubscribe` (RFC 2369) and `List-Unsubscribe-Post` (RFC 8058 section 3.1).

    Receivers act on one click only when `public_url` is https and both headers are signed by DKIM (section 4).
    `mailto` is an address that a person reads: nothing here acts on mails to it.
    """
    ways = [f"<{link(public_url, secrets, subscriber_id)}>"]
    if mailto:
        ways.append(f"<mailto:{quote(mailto, safe='@')}?subject=unsubscribe>")
    return {"List-Unsubscribe": ", ".join(ways), "List-Unsubscribe-Post": "=".join(ONE_CLICK)}


def read(secrets: Sequence[bytes], token: str) -> str | None:
    """Returns the subscriber's id of a token that we signed; None for anything else, an old secret's too."""
    signed = tokens.from_link(token)
    packed = tokens.read(secrets, Purpose.UNSUBSCRIBE, signed) if signed is not None else None
    return _unpacked(packed) if packed else None


def _packed(subscriber_id: str) -> bytes:
    """A UUID as its 16 octets; an id of another origin as it is."""
    value = uuid_bytes(subscriber_id)
    return _TEXT + subscriber_id.encode() if value is None else _UUID + value


def _unpacked(packed: bytes) -> str | None:
    kind, value = packed[:1], packed[1:]
    if kind == _UUID and len(value) == 16:
        return str(uuid.UUID(bytes=value))
    return value.decode() if kind == _TEXT else None
