"""Text that strangers typed: what is refused and what is stripped, in one place for every door it comes in by.

Control characters are refused (a line feed in a name forges headers); explicit direction overrides are stripped
(they reverse what follows), while right-to-left languages pass untouched.
"""

from __future__ import annotations

import re

# Explicit bidirectional formatting (Unicode UAX 9): embeddings, overrides, isolates.
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
# The Unicode categories Cc, Cs, Zl and Zp; a test holds these to the character database.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROLS_BUT_BREAKS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LINE_BREAKS = re.compile(r"\r\n|\r|\u2028|\u2029|\x85|\x0b|\x0c")
_URL_LIKE = re.compile(r"://|www\.|[^\s@]+\.[a-z]{2,}(/|\b)", re.IGNORECASE)


def _refuse_controls(value: str, controls: re.Pattern[str]) -> None:
    found = controls.search(value)
    if found:
        raise ValueError(f"must not contain the control character U+{ord(found[0]):04X}")


def single_line(value: str) -> str:
    """Returns the value stripped of blanks and direction overrides; ValueError on any control character."""
    if not value.isascii() or not value.isprintable():
        _refuse_controls(value, _CONTROLS)
        value = value.translate(_BIDI)
    return value.strip()


def multi_line(value: str) -> str:
    """Like `single_line`, but keeps tabs and line breaks, all of them as a line feed."""
    if not value.isascii() or not value.isprintable():
        value = _LINE_BREAKS.sub("\n", value)
        _refuse_controls(value, _CONTROLS_BUT_BREAKS)
        value = value.translate(_BIDI)
    return value.strip()


def looks_like_link(value: str) -> bool:
    """True when a mail program would turn part of the value into a link by itself."""
    return bool(_URL_LIKE.search(value))
