"""Tokens say who was given them, and nothing else counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events import tokens
from leadstream_events.tokens import Purpose

SECRETS = (b"the newest secret", b"an older secret")


@given(st.binary(max_size=60), st.sampled_from(Purpose))
def test_a_token_survives_link_and_local_part_in_any_case(payload: bytes, purpose: Purpose) -> None:
    token = tokens.sign(SECRETS, purpose, payload)
    assert tokens.from_link(tokens.to_link(token)) == token
    assert tokens.from_local_part(tokens.to_local_part(token).upper()) == token
    assert tokens.read(SECRETS, purpose, token) == payload


@given(st.binary(max_size=60), st.data())
def test_a_token_with_one_bit_changed_is_none(payload: bytes, data: st.DataObject) -> None:
    token = bytearray(tokens.sign(SECRETS, Purpose.MAIL, payload))
    bit = data.draw(st.integers(0, len(token) * 8 - 1))
    token[bit // 8] ^= 1 << bit % 8
    assert tokens.read(SECRETS, Purpose.MAIL, bytes(token)) is None


def test_a_token_of_one_purpose_is_worth_nothing_for_another() -> None:
    token = tokens.sign(SECRETS, Purpose.UNSUBSCRIBE, b"x")
    assert tokens.read(SECRETS, Purpose.RETURN_PATH, token) is None


def test_an_older_secret_still_counts_and_a_foreign_one_does_not() -> None:
    assert tokens.read(SECRETS, Purpose.MAIL, tokens.sign(SECRETS[1:], Purpose.MAIL, b"x")) == b"x"
    assert tokens.read(SECRETS, Purpose.MAIL, tokens.sign((b"a stranger's",), Purpose.MAIL, b"x")) is None


@pytest.mark.parametrize("text", ["", "a", "é", "a b", "====", "AAAA\n", "+/8A", "x" * 10_000 + "!"])
def test_texts_that_are_no_token_are_none(text: str) -> None:
    for token in (tokens.from_link(text), tokens.from_local_part(text)):
        assert token is None or tokens.read(SECRETS, Purpose.MAIL, token) is None


@pytest.mark.parametrize("text", ["AB", "AA==", "AAB"])
def test_a_link_has_one_spelling(text: str) -> None:
    found = tokens.from_link(text)
    assert found is None or tokens.to_link(found) == text
