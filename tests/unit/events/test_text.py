"""Text that strangers typed: refused, stripped, or passed untouched."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events.text import looks_like_link, multi_line, single_line


@pytest.mark.parametrize("char", ["\n", "\r", "\t", "\x00", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"])
def test_a_line_with_a_control_character_is_refused_by_its_number(char: str) -> None:
    with pytest.raises(ValueError, match=f"U\\+{ord(char):04X}"):
        single_line(f"Ada{char}Bcc: all@example.com")


def test_direction_overrides_are_stripped_and_languages_left_alone() -> None:
    assert single_line("Ada\u202egpj.exe\u2066") == "Adagpj.exe"
    assert single_line(" שלום עולם ") == "שלום עולם"
    assert multi_line("\u202eAda") == "Ada"


@given(st.text())
def test_whatever_passes_holds_no_control_character(value: str) -> None:
    try:
        clean = single_line(value)
    except ValueError:
        return
    assert not [char for char in clean if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    assert single_line(clean) == clean


@given(st.text())
def test_several_lines_end_in_line_feeds_alone(value: str) -> None:
    try:
        clean = multi_line(value)
    except ValueError:
        return
    assert {char for char in clean if unicodedata.category(char) == "Cc"} <= {"\n", "\t"}
    assert multi_line(clean) == clean


def test_every_kind_of_line_break_is_one() -> None:
    assert multi_line("a\r\nb\rc\u2028d\u2029e\x85f\x0bg") == "a\nb\nc\nd\ne\nf\ng"
    with pytest.raises(ValueError, match=r"U\+0000"):
        multi_line("a\x00b")


@pytest.mark.parametrize("text", ["http://x", "www.x", "evil.com", "see evil.co/path", "javascript://"])
def test_what_a_mail_program_would_link_is_told(text: str) -> None:
    assert looks_like_link(text)


@pytest.mark.parametrize("text", ["Ada", "Dr. Ada", "J.R. Example", "3.5"])
def test_plain_names_are_no_links(text: str) -> None:
    assert not looks_like_link(text)
