"""A mail as far as reports need it: parsed once, its parts in order, and the original mail that it gives back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from email.utils import getaddresses
from itertools import islice

# What a report says is at its front; a mail server may give back the whole original behind it.
MAX_BYTES = 1024 * 1024
_MAX_PARTS = 100
_TEXT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Mail:
    """`original` are the headers of the mail that came back, None when it is not there."""

    message: Message
    parts: tuple[Message, ...]
    original: Message | None

    def first(self, content_type: str) -> Message | None:
        """The first part of a type, or None."""
        return next((part for part in self.parts if part.get_content_type() == content_type), None)

    def header(self, name: str) -> str:
        """A header of the mail itself on one line, empty when there is none."""
        return text(self.message, name) or ""

    def subject(self) -> str:
        """The subject as people read it: decoded (RFC 2047), and raw UTF-8 as what it is."""
        words = decode_header(self.message["Subject"] or "")
        return "".join(_decoded(word, charset) for word, charset in words)

    def prose(self) -> str:
        """What the mail says to people, up to 64 KiB."""
        for part in self.parts:
            if part.get_content_type() in ("text/plain", "text/html"):
                payload = part.get_payload(decode=True)
                return payload[:_TEXT].decode("utf-8", "replace") if isinstance(payload, bytes) else ""
        return ""


def parse(raw: bytes) -> Mail:
    """Parses a mail with line ends of any kind. May raise anything on hostile bytes."""
    message = BytesParser().parsebytes(re.sub(rb"\r\n?", b"\n", raw[:MAX_BYTES]))
    parts = tuple(islice(message.walk(), _MAX_PARTS))
    return Mail(message, parts, _original(parts))


def headers_in(part: Message) -> Message:
    """The headers that a part holds as its content, decoded if they are encoded."""
    payload = part.get_payload()
    if isinstance(payload, list):
        return payload[0] if payload and isinstance(payload[0], Message) else Message()
    content = part.get_payload(decode=True)
    return BytesHeaderParser().parsebytes(content.lstrip(b"\n") if isinstance(content, bytes) else b"")


def _decoded(word: str | bytes, charset: str | None) -> str:
    if isinstance(word, str):
        return word
    try:
        return word.decode("utf-8" if charset in (None, "unknown-8bit") else charset or "", "replace")
    except LookupError:
        return word.decode("utf-8", "replace")


def _original(parts: tuple[Message, ...]) -> Message | None:
    for part in parts:
        if part.get_content_type() in ("message/rfc822", "text/rfc822-headers", "message/rfc822-headers"):
            return headers_in(part)
    return None


def text(message: Message | None, name: str) -> str | None:
    """A header's value on one line; None when it is missing or empty."""
    value = message[name] if message is not None else None
    return " ".join(str(value).split()) or None if value is not None else None


def address(value: str | None) -> str | None:
    """The address in a field such as `rfc822; <a@example.com>`; None when there is none."""
    found = getaddresses([(value or "").rpartition(";")[2].strip()])
    return next((each for _, each in found if "@" in each.strip("@")), None)
