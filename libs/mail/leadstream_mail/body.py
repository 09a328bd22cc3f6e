"""Encodes the body of a mail so that every transport carries it unharmed.

The bytes are 7-bit, every line ends in CRLF and has at most 76 characters (RFC 2045 section 6.7), and the boundary
cannot occur in a part: neither quoted-printable nor base64 can produce `=_`. Equal input gives equal bytes.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import textwrap
from functools import lru_cache

_BREAKS = re.compile(r"\r\n?")
_NEEDS_QUOTING = re.compile(r"(?m)^From |[ \t]$|^.{951,}$")
_SOFT_BREAK = rb"(?:=\r\n)?"


# Pieces of a body in their order: bytes, or which part of the recipient's own token goes there.
Pieces = tuple[bytes | slice, ...]


def alternative(text: str, html: str, seed: str, marker: str) -> tuple[bytes, bytes]:
    """Returns the Content-Type header line and the body of a multipart/alternative (RFC 2046 section 5.1.4).

    A part that holds `marker` is quoted-printable, so that `cut` finds it.
    """
    boundary = b"=_" + hashlib.sha256(seed.encode()).hexdigest()[:32].encode()
    header = b'Content-Type: multipart/alternative;\r\n boundary="' + boundary + b'"\r\n'
    parts = b"".join(
        b"--" + boundary + b"\r\n" + _part(subtype, content, marker)
        for subtype, content in ((b"plain", text), (b"html", html))
    )
    return header, parts + b"--" + boundary + b"--\r\n"


def single(text: str, marker: str) -> tuple[bytes, bytes]:
    """Returns the header lines and the body of a mail of plain text alone (RFC 2046 section 4.1.3)."""
    encoding, body = encode_content(text, quoted_only=marker in text)
    return _plain(encoding), body + b"\r\n"


def plain_ascii(text: str) -> tuple[bytes, bytes, bool]:
    """Like `single` for ASCII that programs read, which goes out unencoded if the transport allows it.

    The third says whether it had to be quoted: a line is too long (RFC 5322 section 2.1.1), ends in a blank, or begins
    with what mailboxes take for the next mail.
    """
    if _NEEDS_QUOTING.search(text) is None:
        return _plain(b"7bit"), text.replace("\n", "\r\n").encode("ascii"), False
    return _plain(b"quoted-printable"), quoted(text), True


def quoted(text: str) -> bytes:
    """The text in quoted-printable, its line ends as CRLF."""
    return binascii.b2a_qp(text.encode(), quotetabs=False, istext=True).replace(b"\n", b"\r\n")


def _plain(encoding: bytes) -> bytes:
    return b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: " + encoding + b"\r\n"


def cut(body: bytes, marker: str) -> Pieces:
    """Cuts a body where the marker stands, also where a soft line break (RFC 2045 section 6.7) runs through it."""
    pieces: list[bytes | slice] = []
    done = 0
    for match in _across_breaks(marker).finditer(body):
        pieces.append(body[done : match.start()])
        first = 0
        fragments = match[0].split(b"=\r\n")
        for number, fragment in enumerate(fragments):
            last = number == len(fragments) - 1
            pieces.append(slice(first, None if last else first + len(fragment)))
            first += len(fragment)
            if not last:
                pieces.append(b"=\r\n")
        done = match.end()
    return (*pieces, body[done:])


@lru_cache(maxsize=8)
def _across_breaks(marker: str) -> re.Pattern[bytes]:
    return re.compile(_SOFT_BREAK.join(re.escape(char).encode() for char in marker))


def fill(pieces: Pieces, token: bytes) -> bytes:
    """Puts the pieces together with one recipient's token."""
    return b"".join(token[each] if isinstance(each, slice) else each for each in pieces)


def _part(subtype: bytes, content: str, marker: str) -> bytes:
    encoding, body = encode_content(content, quoted_only=marker in content)
    return (
        b"Content-Type: text/" + subtype + b"; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body + b"\r\n"
    )


def encode_content(content: str, *, quoted_only: bool = False) -> tuple[bytes, bytes]:
    """Returns the name of the shorter encoding, or quoted-printable, and the content in it; line breaks become CRLF."""
    unix = (_BREAKS.sub("\n", content) if "\r" in content else content).encode("utf-8", "replace")
    quoted = binascii.b2a_qp(unix, quotetabs=False, istext=True).replace(b"\n", b"\r\n")
    canonical = unix.replace(b"\n", b"\r\n")
    if quoted_only or len(quoted) <= len(canonical) * 4 // 3:
        return b"quoted-printable", quoted
    lines = textwrap.wrap(binascii.b2a_base64(canonical, newline=False).decode(), 76)
    return b"base64", "\r\n".join(lines).encode()
