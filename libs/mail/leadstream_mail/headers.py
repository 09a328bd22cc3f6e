"""Writes header values that parse back to what was given and can never become a second header.

The standard library decodes encoded words inside values and folds by itself, which lets `=?UTF-8?Q?=0A?=` forge a
header (case 003) and adds blanks to long names. So values are encoded here: printable ASCII goes out as it is,
anything else, and anything holding `=?`, as encoded words (RFC 2047). Lines end in CRLF and, addresses apart, stay
within 78 characters.
"""

from __future__ import annotations

import binascii
import re

LINE = 76
_FOLD = "\r\n "
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-/^_`{|}~]+(?: [A-Za-z0-9!#$%&'*+\-/^_`{|}~]+)*")
_QUOTABLE = re.compile(r"[!-~]+(?: [!-~]+)*")
_PLAIN_TEXT = re.compile(r"[!-~]+(?: [!-~]+)*")
_PREFIX, _SUFFIX = "=?utf-8?b?", "?="
_MAX_RAW_NAME = 60
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def encode_text(value: str, used: int) -> str:
    """Encodes an unstructured value (RFC 5322 section 2.2.1) whose line already holds `used` characters."""
    value = _without_controls(value)
    if _PLAIN_TEXT.fullmatch(value) and "=?" not in value:
        words = value.split(" ")
        if max(map(len, words)) < LINE - used - 1:
            return _fold(words, used)
    return encoded_words(value, used)


def encode_name(name: str, used: int) -> str:
    """Encodes a display name (RFC 5322 section 3.4): an atom, a quoted string, or encoded words."""
    name = _without_controls(name)
    if "=?" not in name and len(name) <= _MAX_RAW_NAME:
        if _PLAIN_NAME.fullmatch(name):
            return name
        if _QUOTABLE.fullmatch(name):
            return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return encoded_words(name, used)


def encode_mailbox(name: str | None, address: str, used: int) -> str:
    """Returns `name <address>`, folded before the address when the line is full. The address is never encoded."""
    if not name:
        return address
    encoded = encode_name(name, used)
    tail = f"<{address}>"
    last = len(encoded) - encoded.rfind(_FOLD) - 2 if _FOLD in encoded else used + len(encoded)
    return encoded + (" " if last + 1 + len(tail) <= LINE else _FOLD) + tail


def encoded_words(value: str, used: int) -> str:
    """Encodes any text as words of at most 75 characters (RFC 2047 section 2), none splitting a character.

    Lone surrogates, which UTF-8 cannot hold, become U+FFFD.
    """
    words = []
    room = _raw_room(LINE - used)
    chunk = b""
    for char in value:
        raw = char.encode("utf-8", "surrogatepass") if not "\ud800" <= char <= "\udfff" else b"\xef\xbf\xbd"
        if len(chunk) + len(raw) > room:
            words.append(chunk)
            chunk, room = b"", _raw_room(LINE - 1)
        chunk += raw
    words.append(chunk)
    return _FOLD.join(_PREFIX + binascii.b2a_base64(word, newline=False).decode() + _SUFFIX for word in words if word)


def _without_controls(value: str) -> str:
    """Schemas refuse controls already; stored events of another origin must not depend on that."""
    return _CONTROLS.sub(" ", value)


def _raw_room(line_room: int) -> int:
    """Bytes that fit into one encoded word on a line with that much room."""
    return max(4, (min(75, line_room) - len(_PREFIX) - len(_SUFFIX)) // 4 * 3)


def _fold(words: list[str], used: int) -> str:
    out = words[0]
    column = used + len(words[0])
    for word in words[1:]:
        if column + 1 + len(word) > LINE:
            out += _FOLD + word
            column = 1 + len(word)
        else:
            out += " " + word
            column += 1 + len(word)
    return out
