"""What mails say, and what they refuse to say."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from leadstream_events.errors import ConfigurationError, Permanent
from leadstream_events.schemas.events import Kind
from leadstream_mail.body import encode_content
from leadstream_mail.build import MailBuilder
from leadstream_mail.templates import Templates, inert
from leadstream_mail.unsubscribe import SAMPLE_PATH
from tests.unit.mailer.mails import NOW, a_lead, assert_wire_safe, parts, prepared, raw

FULL = {
    "phone_number": "+1 202 555 0143",
    "address": "12 Main Street",
    "city": "Springfield",
    "state": "CA",
    "zip_code": "12345-6789",
    "birth_date": "1990-01-31",
    "tickets_past_year": 0,
    "accidents_past_year": 3,
    "is_homeowner": False,
    "source": "spring campaign",
    "vehicles": [
        {"year": 2021, "make": "Example", "model": "Wagon", "vin": "1M8GDM9AXKP042788"},
        {"year": 1999, "make": "Other", "model": "Van"},
    ],
    "metadata": {"utm": "x1", "score": 1.5, "returning": True},
    "consent": {
        "text": "I agree\nto this",
        "url": "https://example.com/form",
        "ip": "192.0.2.7",
        "user_agent": "Browser 1",
        "time": "2026-01-30T08:00:00Z",
    },
}
SHOWN = [
    *("Dana Example", "dana@example.com", "+1 202 555 0143", "12 Main Street", "Springfield", "CA", "12345-6789"),
    *("1990-01-31", "spring campaign", "2021 Example Wagon", "1M8GDM9AXKP042788", "1999 Other Van", "x1", "1.5"),
    *("I agree\nto this", "https://example.com/form", "192.0.2.7", "Browser 1", "2026-01-30 08:00 UTC"),
]


def _visible(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup))


def test_the_notification_shows_every_field_of_the_lead() -> None:
    text, markup = parts(raw(a_lead(**FULL)).data)
    for value in SHOWN:
        assert value in text
        assert value in _visible(markup)
    assert "Tickets in the past year: 0\n" in text
    assert "Home owner: no\n" in text


def test_absent_fields_leave_no_trace() -> None:
    text, markup = parts(raw(a_lead()).data)
    for label in ("Phone", "Vehicles", "Consent", "More", "none", "None"):
        assert label not in text
        assert label not in _visible(markup)


def test_template_expressions_in_fields_stay_text() -> None:
    """Case 024, also through the subject."""
    evil = "{{7*7}} {% for x in ().__class__ %}{% endfor %} ${7*7} %(name)s {0.__class__}"
    mail = prepared(a_lead(full_name=evil, city="{{7*7}}")).rendered
    assert evil in mail.subject
    assert evil in mail.text
    assert evil in _visible(mail.html)
    assert "49" not in mail.subject + mail.text


@pytest.mark.parametrize(
    "name",
    [
        "Claim prize at bad.example.test/win",
        "https://bad.example",
        "WWW.bad.example",
        "write to a@bad.example",
        "x" * 65,
        "bad。example",
        "bad．example",
        "192.0.2.1",
        "bad\\share",
    ],
)
def test_the_welcome_mail_does_not_repeat_a_name_that_is_bait(name: str) -> None:
    """Case 023."""
    mail = prepared(a_lead(full_name=name), Kind.WELCOME).rendered
    for text in (mail.subject, mail.text, _visible(mail.html)):
        assert name not in text
    assert "Hello,\n" in mail.text


@pytest.mark.parametrize("name", ["Dana", "דנה", "José Núñez-O'Hara", "J. R. Smith"])
def test_the_welcome_mail_greets_people_by_name(name: str) -> None:
    """Case 035: right-to-left names pass untouched."""
    mail = prepared(a_lead(full_name=name), Kind.WELCOME).rendered
    assert f"Hello {name},\n" in mail.text
    assert f"Hello {name}," in _visible(mail.html)


def test_a_user_template_cannot_repeat_bait_in_the_welcome_mail(tmp_path: Path) -> None:
    (tmp_path / "welcome.txt").write_text("{{ lead.full_name }} {{ lead.city }} {{ lead.metadata }}")
    builder = MailBuilder(Templates.load(tmp_path), "leads@example.com", "http://127.0.0.1:8000")
    lead = a_lead(full_name="see bad.example/win", city="www.bad.example", metadata={"a": "http://bad.example"})
    text = builder.build(Kind.WELCOME, "lead-1", lead, NOW).rendered.text
    assert "bad.example" not in text


def test_markup_and_links_in_html_come_out_inert() -> None:
    evil = "<script>x</script> <a href='http://bad.example/win'>http://bad.example/win</a>"
    mail = prepared(a_lead(full_name=evil, metadata={"www.bad.example": evil}))
    assert "<script" not in mail.rendered.html
    assert "href='http" not in mail.rendered.html
    assert "bad.example" not in mail.rendered.html
    assert evil in _visible(mail.rendered.html)
    links = [html.unescape(each) for each in re.findall(r'href="([^"]*)"', mail.rendered.html)]
    assert links == ["mailto:dana@example.com", "http://127.0.0.1:8000" + SAMPLE_PATH]


def test_inert_text_holds_no_unbroken_link_and_reads_the_same() -> None:
    assert _visible(inert("http://bad.example/a?b=1&c=<2>")) == "http://bad.example/a?b=1&c=<2>"
    assert inert(None) == ""
    assert "bad.example" not in inert("bad.example")


def test_a_user_file_replaces_one_template_and_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "welcome.subject.txt").write_text("Thanks\n  {{ lead.full_name }}\n")
    (tmp_path / "signature.txt").write_text("-- us")
    (tmp_path / "welcome.txt").write_text("{% include 'signature.txt' %}")
    builder = MailBuilder(Templates.load(tmp_path), "leads@example.com", "http://127.0.0.1:8000")
    mail = builder.build(Kind.WELCOME, "lead-1", a_lead(), NOW).rendered
    assert mail.subject == "Thanks Dana Example"
    assert mail.text == "-- us"
    assert mail.html == prepared(a_lead(), Kind.WELCOME).rendered.html


@pytest.mark.parametrize(
    ("name", "source", "line"),
    [
        ("notification.html", "<p>\n{% if %}", 2),
        ("welcome.txt", "\n\n{{ lead.fullname }}", 3),
        ("notification.txt", "{{ lead.full_name|nosuch }}", 1),
        ("welcome.html", "{% include 'absent.html' %}", 1),
        ("notification.subject.txt", "{{ lead.vehicles[0].make }}", 1),
        ("welcome.txt", "{% include '../../etc/passwd' %}", 1),
    ],
)
def test_a_broken_user_template_stops_the_start_and_names_file_and_line(
    tmp_path: Path, name: str, source: str, line: int
) -> None:
    (tmp_path / name).write_text(source)
    with pytest.raises(ConfigurationError) as caught:
        Templates.load(tmp_path)
    assert f"{tmp_path / name}, line {line}:" in str(caught.value)


def test_a_template_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "welcome.txt").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match=r"welcome\.txt cannot be read as UTF-8"):
        Templates.load(tmp_path)


def test_an_absent_template_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="LEADSTREAM_TEMPLATES_DIR"):
        Templates.load(tmp_path / "nothing")


def test_a_template_that_fails_on_one_lead_is_permanent_and_tells_no_value(tmp_path: Path) -> None:
    (tmp_path / "notification.txt").write_text(
        "{% if lead.tickets_past_year == 7 %}{{ lead.full_name.nosuch.x }}{% endif %}"
    )
    builder = MailBuilder(Templates.load(tmp_path), "leads@example.com", "http://127.0.0.1:8000")
    with pytest.raises(Permanent) as caught:
        builder.build(Kind.NOTIFICATION, "lead-1", a_lead(tickets_past_year=7), NOW)
    assert caught.value.cause == "template"
    assert "Dana" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "a" * 5000,
        "hello\n.\nworld\n..x\n.y",
        "a\rb\nc\r\nd",
        "x\n.\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<spy@example.com>\r\nDATA\r\n\r\nhi\r\n.\r\n",
        "漢" * 3000,
        "tab\tand trailing blank \nFrom here",
    ],
)
def test_free_text_survives_the_wire_whole(value: str) -> None:
    """Cases 019, 058, 059, 060."""
    lead = a_lead(metadata={"comments": value})
    data = raw(lead).data
    assert_wire_safe(data)
    assert max(map(len, data.split(b"\r\n"))) <= 78
    stored = lead.metadata["comments"]
    assert isinstance(stored, str)
    assert f"comments: {stored}\n" in parts(data)[0]


def test_the_shorter_transfer_encoding_is_taken() -> None:
    assert encode_content("plain text with é")[0] == b"quoted-printable"
    assert encode_content("漢字" * 100)[0] == b"base64"


_PARTS: tuple[dict[str, Any], ...] = (
    {"city": "Reno"},
    {"state": "CA"},
    {"vehicles": [{"year": 2020, "make": "Toyota", "model": "Corolla"}]},
    {"metadata": {"key": None, "adf.vehicle.1.interest": "buy"}},
    {"consent": {"text": "yes"}},
    {"is_homeowner": False},
)


@pytest.mark.parametrize("chosen", range(2 ** len(_PARTS)))
def test_what_a_lead_does_not_say_is_not_written_as_none(chosen: int) -> None:
    said: dict[str, Any] = {}
    for number, part in enumerate(_PARTS):
        if chosen >> number & 1:
            said |= part
    for kind in Kind:
        mail = prepared(a_lead(**said), kind).rendered
        assert "none" not in f"{mail.subject} {mail.text} {mail.html}".replace("text-decoration:none", "").lower()


def test_the_packages_templates_are_loaded_once_in_a_process() -> None:
    assert Templates.load(None) is Templates.load(None)
