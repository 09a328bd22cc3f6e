"""Mails in the formats that subscribers choose: text alone, and ADF as one plain part with the XML."""

from __future__ import annotations

from datetime import UTC, date
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given

from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.lead import Consent, Lead
from leadstream_events.schemas.subscriber import MailFormat
from leadstream_mail.adf.rules import violations as adf_violations
from leadstream_mail.adf.writing import vendor_lines
from leadstream_mail.build import RawMail
from leadstream_mail.sample import SAMPLE_LEAD
from tests.fuzz.texts import SCALAR, TEXT, lead_values
from tests.support.rfc5322 import violations
from tests.unit.mailer.mails import BUILDER, MESSAGE_ID, NOW, a_lead, parsed

TOKEN = "t" * 36


def mail(lead: Lead, form: MailFormat, name: str | None = "Sam Buyer", address: str = "s1@example.com") -> RawMail:
    built = BUILDER.build(Kind.NOTIFICATION, "lead-1", lead, NOW, form)
    return built.for_recipient(name=name, address=address, message_id=MESSAGE_ID, date=NOW, unsubscribe=TOKEN)


def body(data: bytes) -> str:
    message = parsed(data)
    assert not message.is_multipart()
    assert message.get_content_type() == "text/plain"
    text: str = message.get_content()
    return text.replace("\r\n", "\n")


def document(lead: Lead, **recipient: Any) -> Element:
    root: Element = fromstring(body(mail(lead, MailFormat.ADF, **recipient).data), forbid_dtd=True)
    assert adf_violations(root) == []
    return root


def texts(root: Element, path: str) -> list[str | None]:
    return [element.text for element in root.findall(path)]


@pytest.mark.parametrize("form", MailFormat)
@pytest.mark.parametrize("lead", [a_lead(), SAMPLE_LEAD, a_lead(full_name="Zoë 刘 ✓", metadata={"note": "é" * 900})])
def test_the_bytes_keep_to_rfc_5322_in_every_format(lead: Lead, form: MailFormat) -> None:
    data = mail(lead, form, name="Jürgen Söhne").data
    assert violations(data) == []
    assert data.endswith(b"\r\n")


def test_text_alone_is_the_text_of_the_usual_mail_with_the_recipients_own_link() -> None:
    usual = parsed(mail(SAMPLE_LEAD, MailFormat.HTML).data)
    text = body(mail(SAMPLE_LEAD, MailFormat.TEXT).data)
    assert text.rstrip() == next(usual.iter_parts()).get_content().replace("\r\n", "\n").rstrip()
    assert f"/unsubscribe/{TOKEN}" in text


def test_a_document_is_xml_that_needs_no_decoding_and_names_its_recipient_as_the_vendor() -> None:
    data = mail(SAMPLE_LEAD, MailFormat.ADF, name="Müller & Söhne").data
    head, _, rest = data.partition(b"\r\n\r\n")
    assert b"Content-Transfer-Encoding: 7bit" in head
    assert rest.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\r\n<?adf version="1.0"?>\r\n<adf>\r\n')
    assert b"<html" not in rest
    root = document(SAMPLE_LEAD, name="Müller & Söhne")
    vendor = "prospect/vendor/"
    assert texts(root, f"{vendor}vendorname") == ["Müller & Söhne"]
    assert texts(root, f"{vendor}contact/email") == ["s1@example.com"]
    assert texts(document(SAMPLE_LEAD, name="A", address="a@example.net"), f"{vendor}contact/email") == [
        "a@example.net"
    ]


def test_a_document_says_everything_of_the_lead() -> None:
    lead = SAMPLE_LEAD.model_copy(update={"consent": Consent(text="Yes, call me.", time=NOW.astimezone(UTC))})
    root = document(lead)
    assert texts(root, "prospect/id") == ["lead-1"]
    assert texts(root, "prospect/requestdate") == ["2026-01-31T09:05:07+00:00"]
    assert texts(root, "prospect/vehicle/year") == ["2021", "2017"]
    assert texts(root, "prospect/vehicle/make") == ["Example", "Sample"]
    assert texts(root, "prospect/vehicle/vin") == ["1M8GDM9AXKP042788"]
    contact = "prospect/customer/contact/"
    assert texts(root, f"{contact}name[@part='full']") == ["Dana Example"]
    assert texts(root, f"{contact}email") == ["dana@example.com"]
    assert texts(root, f"{contact}phone") == ["+1 202 555 0143"]
    assert texts(root, f"{contact}address/*") == ["1 Main Street", "Springfield", "CA", "90001"]
    (comments,) = texts(root, "prospect/customer/comments")
    for line in ("Date of birth: 1990-01-31", "Home owner: yes", "Consent, text: Yes, call me.", "campaign: winter"):
        assert line in (comments or "").splitlines()


def test_what_came_as_adf_goes_out_where_it_stood() -> None:
    told = {
        "adf.requestdate": "2026-03-28T23:05:09+00:00",
        "adf.vehicle.1.interest": "trade-in",
        "adf.vehicle.1.status": "used",
        "adf.vehicle.1.odometer": "80000",
        "adf.vehicle.1.odometer.units": "mi",
        "adf.vehicle.1.price": "18500.00",
        "adf.vehicle.1.price.currency": "not a currency",
        "adf.comments": "Is it <b>still</b> there?",
        "adf.phone.2": "+1 202 555 0144",
        "adf.phone.2.type": "cellphone",
    }
    root = document(SAMPLE_LEAD.model_copy(update={"metadata": told}))
    vehicle = root.find("prospect/vehicle")
    assert vehicle is not None and vehicle.attrib == {"interest": "trade-in", "status": "used"}
    assert [each.attrib for each in vehicle.findall("odometer")] == [{"units": "mi"}]
    assert texts(root, "prospect/requestdate") == ["2026-03-28T23:05:09+00:00"]
    assert [each.get("type") for each in root.iter("phone")] == ["voice", "cellphone"]
    (comments,) = texts(root, "prospect/customer/comments")
    assert (comments or "").startswith("Is it <b>still</b> there?\n")
    assert "adf.vehicle.1.price.currency: not a currency" in (comments or "")


@pytest.mark.parametrize("text", ["a\x00b", "a\x0bb\x1f", "a\ufffeb", "\ud800", "]]>", "&amp;<!--", "a\u2028b"])
def test_what_xml_cannot_hold_is_replaced_and_the_rest_is_escaped(text: str) -> None:
    lead = a_lead().model_copy(update={"full_name": text, "metadata": {"note": text}})  # as an import may bring it
    (name,) = texts(document(lead, name=text), "prospect/customer/contact/name")
    assert name is not None and name.replace("\ufffd", "") == "".join(
        char for char in text if char not in "\x00\x0b\x1f\ufffe\ud800"
    )


@pytest.mark.parametrize(
    "note", ["x" * 2000, "From here on", "trailing \nblank", ".\n..\n.", "a\n\n\nb", "\u2603" * 300], ids=ascii
)
def test_text_that_a_transport_could_harm_arrives_whole(note: str) -> None:
    lead = a_lead(metadata={"adf.comments": note})
    data = mail(lead, MailFormat.ADF, name="Ü" * 60).data
    assert violations(data) == []
    assert texts(document(lead), "prospect/customer/comments") == [note]
    assert texts(document(lead, name="Ü" * 60), "prospect/vendor/vendorname") == ["Ü" * 60]


def test_a_vendor_name_that_no_line_can_hold_is_cut() -> None:
    lines = vendor_lines("\U0001f697" * 200, "s1@example.com").encode().split(b"\n")
    assert max(map(len, lines)) <= 998
    assert b"&#128663;" * 90 in lines[1]


def test_a_welcome_mail_has_one_format() -> None:
    built = BUILDER.build(Kind.WELCOME, "lead-1", a_lead(birth_date=date(1990, 1, 31)), NOW)
    assert built.rendered.html


@given(values=lead_values(TEXT, SCALAR), name=TEXT)
def test_any_lead_makes_a_document_that_keeps_to_the_format(values: dict[str, Any], name: str) -> None:
    try:
        lead = Lead.model_validate(values)
    except ValueError:
        return
    data = mail(lead, MailFormat.ADF, name=name).data
    assert violations(data) == []
    document(lead, name=name)


GOOD = (
    "<adf><prospect><requestdate>2026-01-31T09:05:00Z</requestdate><vehicle><year>2021</year><make>a</make>"
    "<model>b</model></vehicle><customer><contact><name>n</name><email>a@example.com</email></contact></customer>"
    "<vendor><vendorname>v</vendorname></vendor></prospect></adf>"
)


@pytest.mark.parametrize(
    ("before", "after", "at_fault"),
    [
        ("<year>2021</year>", "", "adf/prospect/vehicle/year"),
        ("<year>2021</year>", "<year>21</year>", "adf/prospect/vehicle/year"),
        ("<year>2021</year><make>a</make>", "<make>a</make><year>2021</year>", "adf/prospect/vehicle"),
        ("<make>a</make>", "<make> </make>", "adf/prospect/vehicle/make"),
        ("<make>a</make>", "<make><b/></make>", "adf/prospect/vehicle/make"),
        ("<vehicle>", "<vehicle interest='rent'>", "adf/prospect/vehicle/@interest"),
        ("<vehicle>", "<vehicle colour='red'>", "adf/prospect/vehicle/@colour"),
        ("<vehicle>", "<id>1</id><vehicle>", "adf/prospect/id/@source"),
        ("2026-01-31T09:05:00Z", "31 January", "adf/prospect/requestdate"),
        ("<email>a@example.com</email>", "", "adf/prospect/customer/contact"),
        ("<vendor><vendorname>v</vendorname></vendor>", "", "adf/prospect/vendor"),
        ("<customer>", "text<customer>", "adf/prospect"),
        ("<customer>", "<customer><make>a</make>", "adf/prospect/customer/make"),
        ("<customer>", "<customer><colour>red</colour>", "adf/prospect/customer/colour"),
        ("<adf>", "<ADF>", "ADF"),
    ],
)
def test_a_document_that_does_not_keep_to_the_format_is_found_out(before: str, after: str, at_fault: str) -> None:
    assert adf_violations(fromstring(GOOD)) == []
    text = GOOD.replace(before, after).replace("</adf>", "</ADF>" if after == "<ADF>" else "</adf>")
    assert at_fault in [found.partition(":")[0] for found in adf_violations(fromstring(text))]
