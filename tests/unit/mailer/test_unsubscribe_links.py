"""The link in a mail names its subscriber to us, and to nobody else it can be made."""

from __future__ import annotations

import email.message
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events import tokens
from leadstream_events.ids import new_id
from leadstream_events.tokens import Purpose
from leadstream_mail import unsubscribe

SECRETS = (b"the newest secret", b"an older secret")
BASE = "https://leads.example.com"


@given(st.uuids().map(str) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_a_token_names_its_subscriber(subscriber_id: str) -> None:
    assert unsubscribe.read(SECRETS, unsubscribe.token_of(SECRETS, subscriber_id)) == subscriber_id


@pytest.mark.parametrize("base", [BASE, BASE + "/", BASE + "/leads/"])
def test_a_link_stands_below_the_public_url(base: str) -> None:
    found = unsubscribe.link(base, SECRETS, new_id())
    assert found.startswith(base.rstrip("/") + "/unsubscribe/")
    assert len(found.rpartition("/")[2]) == 36


def test_equal_mails_carry_equal_links() -> None:
    subscriber_id = new_id()
    assert unsubscribe.token_of(SECRETS, subscriber_id) == unsubscribe.token_of(SECRETS, subscriber_id)


def test_an_old_secret_counts_while_it_is_in_the_file() -> None:
    token = unsubscribe.token_of(SECRETS[1:], "s1")
    assert unsubscribe.read(SECRETS, token) == "s1"
    assert unsubscribe.read(SECRETS[:1], token) is None


@pytest.mark.parametrize("text", ["", "x", "é", "../..", "A" * 36, "A" * 5000])
def test_texts_that_are_no_token_name_nobody(text: str) -> None:
    assert unsubscribe.read(SECRETS, text) is None


@given(st.binary(max_size=40))
def test_whatever_we_signed_is_read_or_refused_and_never_fails(payload: bytes) -> None:
    unsubscribe.read(SECRETS, tokens.to_link(tokens.sign(SECRETS, Purpose.UNSUBSCRIBE, b"u" + payload)))


def test_tokens_of_other_purposes_name_nobody() -> None:
    packed = tokens.sign(SECRETS, Purpose.MAIL, b"ts1")
    assert unsubscribe.read(SECRETS, tokens.to_link(packed)) is None


def test_headers_are_those_of_rfc_8058() -> None:
    found = unsubscribe.unsubscribe_headers(BASE, SECRETS, "s1")
    assert found == {
        "List-Unsubscribe": f"<{unsubscribe.link(BASE, SECRETS, 's1')}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


@pytest.mark.parametrize("mailto", ["stop@example.com", "a+b?c&d@example.com", "grün@example.com"])
def test_a_mailto_comes_second_and_is_a_url(mailto: str) -> None:
    value = unsubscribe.unsubscribe_headers(BASE, SECRETS, "s1", mailto)["List-Unsubscribe"]
    first, second = value.split(", ")
    assert first == f"<{unsubscribe.link(BASE, SECRETS, 's1')}>"
    assert second.startswith("<mailto:") and second.endswith("example.com?subject=unsubscribe>") and second.isascii()
    assert second.count("?") == 1
    message = email.message.EmailMessage(email.policy.SMTP)
    message["List-Unsubscribe"] = value
    assert message["List-Unsubscribe"] == value
