"""Header values survive the wire and forge nothing."""

from __future__ import annotations

import email.header
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leadstream_events.errors import Permanent
from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.lead import Lead
from leadstream_events.text import single_line
from leadstream_mail.addresses import wire_address
from leadstream_mail.build import MailBuilder
from leadstream_mail.headers import encode_text
from leadstream_mail.templates import Templates
from tests.unit.mailer.mails import (
    FIXED,
    MESSAGE_ID,
    NOW,
    WELCOME_FIXED,
    a_lead,
    assert_wire_safe,
    header_names,
    mailbox,
    parsed,
    parts,
    prepared,
    raw,
)

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
FORGED = "A =?UTF-8?Q?=0A?=Bcc: spy@example.com"


def _clean(value: str) -> str:
    try:
        return single_line(value)
    except ValueError:
        return ""


NAMES = (
    st.one_of(ANY_TEXT, st.text(alphabet='ab =?_"\\.,<>@é漢😀', max_size=200))
    .map(lambda value: _clean(value[:200]))
    .filter(bool)
)


@given(name=NAMES, subscriber=NAMES)
@example(name=FORGED, subscriber=FORGED)
@example(name="é" * 200, subscriber="漢字 " * 50 + "x")
@example(name="a" * 200, subscriber='"' * 100)
def test_names_parse_back_to_what_was_typed_and_forge_no_header(name: str, subscriber: str) -> None:
    """Cases 001, 003, 035."""
    mail = prepared(a_lead(full_name=name)).for_recipient(
        name=subscriber, address="s1@example.com", message_id=MESSAGE_ID, date=NOW
    )
    assert header_names(mail.data) == FIXED
    assert_wire_safe(mail.data)
    message = parsed(mail.data)
    assert mailbox(mail.data, "to") == (subscriber, "s1@example.com")
    assert mailbox(mail.data, "reply-to") == (name, "dana@example.com")
    assert [entry.addr_spec for entry in message["to"].addresses] == ["s1@example.com"]
    assert message["subject"] == " ".join(f"New lead: {name}".split())


@given(values=st.lists(ANY_TEXT, min_size=9, max_size=9), kind=st.sampled_from(Kind))
def test_any_text_in_any_field_leaves_exactly_our_headers_and_the_rendered_body(values: list[str], kind: Kind) -> None:
    """Cases 002, 059, 060: even values that the schema would refuse, as in an event of another origin."""
    name, phone, street, city, source, key, value, make, subscriber = values
    base = a_lead(vehicles=[{"year": 2021, "make": "x", "model": "y"}], consent={"text": "x"})
    vehicle = base.vehicles[0].model_copy(update={"make": make, "model": value})
    assert base.consent is not None
    lead = base.model_copy(
        update={
            "full_name": name,
            "phone_number": phone,
            "address": street,
            "city": city,
            "source": source,
            "metadata": {key: value},
            "vehicles": (vehicle,),
            "consent": base.consent.model_copy(update={"text": value, "url": key, "user_agent": street}),
        }
    )
    mail = prepared(lead, kind)
    data = mail.for_recipient(name=subscriber, address="s1@example.com", message_id=MESSAGE_ID, date=NOW).data
    assert header_names(data) == (FIXED if kind is Kind.NOTIFICATION else WELCOME_FIXED)
    assert_wire_safe(data)
    assert data.isascii()
    expected = tuple(
        text.replace("\r\n", "\n").replace("\r", "\n") for text in (mail.rendered.text, mail.rendered.html)
    )
    assert tuple(part.removesuffix("\n") for part in parts(data)) == tuple(part.removesuffix("\n") for part in expected)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=400))
def test_subjects_are_read_alike_by_the_legacy_decoder(value: str) -> None:
    value = " ".join(value.split())
    lines = encode_text(value, 9).split("\r\n")
    assert all(len(line) <= 78 for line in ["Subject: " + lines[0], *lines[1:]])
    joined = "\r\n".join(lines)
    assert str(email.header.make_header(email.header.decode_header(joined.replace("\r\n", "")))) == value


# That parser makes one blank of any run of them in a display name, whatever was sent.
@given(NAMES.filter(lambda name: len(name.encode()) <= 45 and " ".join(name.split()) == name))
def test_short_names_are_read_alike_by_the_newer_parser(name: str) -> None:
    (entry,) = parsed(raw(name=name).data)["to"].addresses
    assert (entry.display_name, entry.addr_spec) == (name, "s1@example.com")


def test_an_encoded_line_feed_stays_literal_text() -> None:
    """Case 003: on Python 3.11.7 the standard library writes a Bcc header for this name."""
    data = raw(a_lead(full_name=FORGED), name=FORGED).data
    head = data.partition(b"\r\n\r\n")[0]
    assert not re.search(rb"(?im)^bcc", head)
    assert b"spy@example.com" not in head
    assert parsed(data)["subject"] == f"New lead: {FORGED}"


def test_a_name_outside_ascii_is_one_encoded_word_before_the_bare_address() -> None:
    """Case 009."""
    data = raw(kind=Kind.WELCOME, name="刘洋", address="dana@example.com").data
    assert re.search(rb"(?m)^To: =\?utf-8\?[bq]\?[^?]+\?= <dana@example\.com>\r$", data)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Sam Buyer", b"To: Sam Buyer <s1@example.com>\r\n"),
        ('Sam "S" Buyer, Inc.', b'To: "Sam \\"S\\" Buyer, Inc." <s1@example.com>\r\n'),
        ("", b"To: s1@example.com\r\n"),
        (None, b"To: s1@example.com\r\n"),
    ],
)
def test_plain_names_stay_readable(name: str | None, expected: bytes) -> None:
    assert expected in raw(name=name).data


def test_every_mail_is_marked_as_automatic() -> None:
    """Case 133."""
    for kind in Kind:
        message = parsed(raw(kind=kind).data)
        assert message["auto-submitted"] == "auto-generated"
        assert message["x-auto-response-suppress"] == "All"
        assert message["date"].datetime == NOW
        assert message["message-id"] == MESSAGE_ID
        assert message["x-leadstream-lead"] == "lead-1"


def test_an_international_domain_goes_out_as_a_label() -> None:
    mail = raw(address="s1@bücher.example")
    assert mail.envelope_to == "s1@xn--bcher-kva.example"
    assert b"<s1@xn--bcher-kva.example>" in mail.data
    assert not mail.needs_smtputf8


def test_a_local_part_outside_ascii_needs_smtputf8_and_is_never_encoded() -> None:
    mail = raw(address="søren@example.com")
    assert mail.needs_smtputf8
    assert mail.needs_8bitmime
    assert "<søren@example.com>".encode() in mail.data


def test_a_reply_address_that_ascii_cannot_name_is_left_out() -> None:
    mail = raw(a_lead(email="søren@example.com"))
    assert header_names(mail.data) == WELCOME_FIXED
    assert not mail.needs_smtputf8


@pytest.mark.parametrize(
    "address", ["lead@😀.ws", "no-at", "a b@example.com", "a\r\nb@example.com", "x@-.example", "@x"]
)
def test_an_address_without_a_safe_spelling_is_permanent_and_no_traceback(address: str) -> None:
    """Case 013, in an old event."""
    with pytest.raises(Permanent) as caught:
        wire_address(address)
    assert caught.value.cause == "unsendable_address"
    assert address not in str(caught.value)


def test_a_message_id_of_an_international_sender_domain_is_ascii() -> None:
    builder = MailBuilder(Templates.load(None), "leads@bücher.example", "http://127.0.0.1:8000")
    mail = builder.build(Kind.NOTIFICATION, "lead-1", a_lead(), NOW).for_recipient(
        name=None, address="s1@example.com", message_id="<1@bücher.example>", date=NOW
    )
    assert b"Message-ID: <1@xn--bcher-kva.example>\r\n" in mail.data
    assert b"From: leads@xn--bcher-kva.example\r\n" in mail.data


def test_further_headers_are_added_and_cannot_replace_ours() -> None:
    extra = {"List-Unsubscribe": "<https://example.com/u/1>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    message = parsed(raw(extra=extra).data)
    assert {name: message[name] for name in extra} == extra
    for wrong in (
        {"Bcc": "a@example.com"},
        {"X-A": "a\r\nBcc: b"},
        {"X A": "b"},
        {"X-A": "é"},
        {"X-A": "=?utf-8?q?=0A?="},
    ):
        with pytest.raises(ValueError, match="header"):
            raw(extra=wrong)


def test_mails_of_equal_input_are_equal_bytes() -> None:
    """The stream and the fallback build byte-identical mails."""
    again = MailBuilder(Templates.load(None), "leads@example.com", "http://127.0.0.1:8000")
    lead = Lead(**a_lead(metadata={"b": 1, "a": "x"}).model_dump())
    first = raw(lead)
    second = again.build(Kind.NOTIFICATION, "lead-1", lead, NOW).for_recipient(
        name="Sam Buyer", address="s1@example.com", message_id=MESSAGE_ID, date=NOW
    )
    assert first == second
