"""Makes what a server said fit to be stored, logged and decided on, whatever bytes it sent.

The result is valid UTF-8 on one line, at most 500 characters, and names no e-mail address: servers like to repeat
the recipient, and events and logs hold no personal data.
"""

from __future__ import annotations

import re
import unicodedata

MAX_LINE = 500

_ADDRESS = re.compile(r"<?[^\s<>@()\[\]\"',;:=]+@[^\s<>@()\[\]\"',;]+>?")
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")


def clean_line(text: str) -> str:
    """Returns the reply text joined to one storable line; bytes that are not UTF-8 become U+FFFD (case 056)."""
    if text.isascii() and text.isprintable() and "@" not in text:  # which nearly every reply is
        return " ".join(text.split())[:MAX_LINE]
    valid = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    plain = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in valid)
    return _ADDRESS.sub("<address>", " ".join(plain.split()))[:MAX_LINE]


def enhanced_code(code: int, text: str) -> str | None:
    """Returns the enhanced status code (RFC 3463, RFC 2034) of a possibly multi-line reply, or None.

    The first line that has one of the reply's own class counts (case 057).
    """
    for line in text.split("\n"):
        match = _ENHANCED.match(line.strip())
        if match and match[1] == str(code)[0]:
            return f"{match[1]}.{int(match[2])}.{int(match[3])}"
    return None
