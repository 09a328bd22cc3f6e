"""The control characters that text refuses are those of the character database, no more and no fewer."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from leadstream_events.text import multi_line, single_line

CONTROLS = [
    char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
]
BREAKS = "\n\t\r\u2028\u2029\x85\x0b\x0c"


def test_every_control_character_is_refused_on_a_line() -> None:
    for char in CONTROLS:
        with pytest.raises(ValueError, match="control character"):
            single_line(f"a{char}b")


def test_texts_of_several_lines_keep_their_breaks_and_refuse_the_rest() -> None:
    for char in CONTROLS:
        if char in BREAKS:
            assert multi_line(f"a{char}b") in ("a\nb", "a\tb")
        else:
            with pytest.raises(ValueError, match="control character"):
                multi_line(f"a{char}b")


def test_everything_else_passes_but_direction_overrides() -> None:
    refused = {*CONTROLS, *map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))}
    rest = "".join(char for char in map(chr, range(sys.maxunicode + 1)) if char not in refused)
    assert single_line(f"a{rest}b") == multi_line(f"a{rest}b") == f"a{rest}b"
