"""Encodes the body of a mail so that every transport carries it unharmed.

The bytes are 7-bit, every line ends in CRLF and has at most 76 characters (RFC 2045 section 6.7), and the boundary
cannot occur in a part: neither quoted-printable nor base64 can produce `=_`. Equal input gives equal bytes.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import textwrap

_BREAKS = re.compile(r"\r\n?")


def alternative(text: str, html: str, seed: str) -> tuple[bytes, bytes]:
    """Returns the Content-Type header line and the body of a multipart/alternative (RFC 2046 section 5.1.4)."""
    boundary = b"=_" + hashlib.sha256(seed.encode()).hexdigest()[:32].encode()
    header = b'Content-Type: multipart/alternative;\r\n boundary="' + boundary + b'"\r\n'
    parts = b"".join(
        b"--" + boundary + b"\r\n" + _part(subtype, content) for subtype, content in ((b"plain", text), (b"html", html))
    )
    return header, parts + b"--" + boundary + b"--\r\n"


def _part(subtype: bytes, content: str) -> bytes:
    encoding, body = encode_content(content)
    return (
        b"Content-Type: text/" + subtype + b"; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body + b"\r\n"
    )


def encode_content(content: str) -> tuple[bytes, bytes]:
    """Returns the name of the shorter encoding and the content in it; line breaks become CRLF."""
    unix = _BREAKS.sub("\n", content).encode("utf-8", "replace")
    quoted = binascii.b2a_qp(unix, quotetabs=False, istext=True).replace(b"\n", b"\r\n")
    canonical = unix.replace(b"\n", b"\r\n")
    if len(quoted) <= len(canonical) * 4 // 3:
        return b"quoted-printable", quoted
    lines = textwrap.wrap(binascii.b2a_base64(canonical, newline=False).decode(), 76)
    return b"base64", "\r\n".join(lines).encode()
