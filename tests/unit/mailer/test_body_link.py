"""Each subscriber finds a link of his own in a body that was built once for all."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events.schemas.events import Kind
from leadstream_mail.body import cut, encode_content, fill
from leadstream_mail.build import MailBuilder, PreparedMail
from leadstream_mail.templates import Templates
from leadstream_mail.unsubscribe import NO_TOKEN, token_of
from tests.unit.mailer.mails import MESSAGE_ID, NOW, a_lead, assert_wire_safe, parts, prepared

SECRETS = (b"a secret",)
TOKEN = token_of(SECRETS, "0190b5a0-0000-7000-8000-000000000000")
LINK = "http://127.0.0.1:8000/unsubscribe/"


def to(mail: PreparedMail, token: str = TOKEN) -> bytes:
    raw = mail.for_recipient(name="S", address="s@example.com", message_id=MESSAGE_ID, date=NOW, unsubscribe=token)
    return raw.data


def test_text_and_html_hold_the_recipient_s_link_and_nobody_else_s() -> None:
    mail = prepared(a_lead())
    for token in (TOKEN, token_of(SECRETS, "0190b5a0-0000-7000-8000-000000000001")):
        data = to(mail, token)
        assert_wire_safe(data)
        text, markup = parts(data)
        assert f"Pause or stop these mails: {LINK}{token}" in text
        assert html.unescape(markup).count(LINK + token) == 1
        assert not re.search(r"unsubscribe/[0-9a-f]{36}", data.decode()), "the marker never goes out"


def test_a_body_is_the_same_bytes_but_for_the_token() -> None:
    """The marker is random; whatever it was, the mail is not another one: the fallback sends the same."""
    made = [MailBuilder(Templates.load(None), "leads@example.com", "http://127.0.0.1:8000") for _ in range(3)]
    assert len({to(each.build(Kind.NOTIFICATION, "lead-1", a_lead(), NOW)) for each in made}) == 1
    assert len(to(prepared(a_lead()))) == len(to(prepared(a_lead()), NO_TOKEN))


@pytest.mark.parametrize("name", ["Dana", "漢字" * 40, "é" * 90])
def test_a_body_that_would_be_base64_holds_the_link_too(name: str) -> None:
    data = to(prepared(a_lead(full_name=name, metadata={"note": name * 20})))
    assert_wire_safe(data)
    assert LINK + TOKEN in parts(data)[0]


def test_a_token_of_an_id_that_is_no_uuid_fits_too() -> None:
    token = token_of(SECRETS, "subscriber-from-elsewhere-with-a-long-name")
    assert len(token) > len(NO_TOKEN)
    data = to(prepared(a_lead()), token)
    assert_wire_safe(data)
    assert LINK + token in parts(data)[0]


def test_a_welcome_mail_has_no_link() -> None:
    mail = prepared(a_lead(), Kind.WELCOME)
    assert "unsubscribe" not in mail.rendered.text + mail.rendered.html
    assert TOKEN.encode() not in to(mail)


def test_templates_of_one_s_own_may_have_it_anywhere_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "notification.txt").write_text("no link")
    (tmp_path / "notification.html").write_text("<p>{{ unsubscribe_url }}</p>" * 3)
    builder = MailBuilder(Templates.load(tmp_path), "leads@example.com", "http://127.0.0.1:8000")
    text, markup = parts(to(builder.build(Kind.NOTIFICATION, "lead-1", a_lead(), NOW)))
    assert text.strip() == "no link" and html.unescape(markup).count(LINK + TOKEN) == 3


def test_what_a_visitor_writes_never_becomes_a_token() -> None:
    """Previews show the placeholder; a visitor who copies it into a lead gets nothing for it."""
    mail = prepared(a_lead(full_name=NO_TOKEN, metadata={"url": LINK + NO_TOKEN}))
    data = to(mail)
    assert parts(data)[0].count(TOKEN) == 1
    assert mail.rendered.text.count(NO_TOKEN) >= 3


@given(st.text("ab =\u00e9\n", max_size=200), st.text("ab =\u00e9\n", max_size=200))
def test_the_marker_is_found_wherever_lines_break(before: str, after: str) -> None:
    marker, token = "0123456789abcdef" * 2 + "0123", "Z" * 36
    _, body = encode_content(f"{before}{marker}{after}{marker}", quoted_only=True)
    _, expected = encode_content(f"{before}{token}{after}{token}", quoted_only=True)
    assert fill(cut(body, marker), token.encode()) == expected
