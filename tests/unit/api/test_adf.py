"""ADF documents as leads: what a prospect says, mends, refusals by element, and no document that breaks the reader."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_api.adf import lead_from_adf
from leadstream_api.problems import Problem
from leadstream_events.schemas.lead import Lead

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
CONTACT = '<name part="full">Ada Example</name><email>ada@example.com</email>'


def document(contact: str = CONTACT, vehicles: str = "", rest: str = "", comments: str = "") -> bytes:
    customer = f"<customer><contact>{contact}</contact>{comments}</customer>"
    return f'<?xml version="1.0"?><adf><prospect>{rest}{vehicles}{customer}</prospect></adf>'.encode()


def lead(raw: bytes) -> Lead:
    return lead_from_adf(raw, NOW)


def vehicle(year: str = "2021", model: str = "Wagon", more: str = "", **attributes: str) -> str:
    spelled = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<vehicle{spelled}><year>{year}</year><make>Example</make><model>{model}</model>{more}</vehicle>"


def test_a_whole_prospect() -> None:
    raw = document(
        '<name part="first">Ada</name><name part="middle"/><name part="last">Example</name>'
        '<email>other@example.com</email><email preferredcontact="1">ada@example.com</email>'
        '<phone type="voice">202 555 0143</phone><phone type="cellphone">202 555 0144</phone>'
        '<address><street line="1">1 Sample St</street><street line="2">Unit 5</street><city>Springfield</city>'
        "<regioncode>il</regioncode><postalcode>62701-0001</postalcode><country>US</country></address>",
        vehicle(interest="trade-in") + vehicle(model="New", more="<vin>1M8GDM9AXKP042788</vin><trim>S</trim>"),
        '<id source="Portal">7</id><requestdate>2026-03-28T18:05:09-05:00</requestdate>'
        '<provider><name part="full">Portal Inc.</name></provider><vendor><vendorname>Motors</vendorname></vendor>',
        "<comments><![CDATA[a <b>bold</b> wish & more]]></comments>",
    )
    found = lead(raw)
    assert (found.full_name, found.email, found.phone_number) == ("Ada Example", "ada@example.com", "202 555 0143")
    assert (found.address, found.city, found.state) == ("1 Sample St, Unit 5", "Springfield", "IL")
    assert (found.zip_code, found.source) == ("62701-0001", "Portal Inc.")
    assert [(each.model, each.vin) for each in found.vehicles] == [("New", "1M8GDM9AXKP042788"), ("Wagon", None)]
    assert found.metadata == {
        **{"adf.name.first": "Ada", "adf.name.last": "Example", "adf.email.2": "other@example.com"},
        **{"adf.phone.1.type": "voice", "adf.phone.2": "202 555 0144", "adf.phone.2.type": "cellphone"},
        **{"adf.country": "US", "adf.id.1": "7", "adf.id.1.source": "Portal", "adf.vendor": "Motors"},
        **{"adf.requestdate": "2026-03-28T23:05:09+00:00", "adf.comments": "a <b>bold</b> wish & more"},
        **{"adf.provider": "Portal Inc.", "adf.vehicle.1.interest": "buy", "adf.vehicle.1.status": "new"},
        **{"adf.vehicle.1.trim": "S", "adf.vehicle.2.interest": "trade-in", "adf.vehicle.2.status": "new"},
    }


def test_what_a_lead_cannot_hold_is_kept_and_does_not_lose_the_lead() -> None:
    address = "<address><regioncode>Ontario</regioncode><postalcode>K1A 0B1</postalcode></address>"
    found = lead(document(CONTACT + address, vehicle(more="<vin>12345</vin>") + vehicle(year="") + vehicle(year="21")))
    assert (found.state, found.zip_code, found.vehicles[0].vin) == (None, None, None)
    assert found.metadata == {
        **{"adf.region": "Ontario", "adf.postalcode": "K1A 0B1", "adf.vehicle.1.vin": "12345"},
        **{"adf.vehicle.3.make": "Example", "adf.vehicle.3.model": "Wagon"},
        **{f"adf.vehicle.{number}.interest": "buy" for number in (1, 2, 3)},
        **{f"adf.vehicle.{number}.status": "new" for number in (1, 2, 3)},
        "adf.warnings": "two_digit_year, vehicle_incomplete",
    }


@pytest.mark.parametrize(("written", "year"), [("27", 2027), ("28", 1928), ("99", 1999), ("00", 2000), ("1999", 1999)])
def test_years_of_two_digits(written: str, year: int) -> None:
    assert lead(document(vehicles=vehicle(year=written))).vehicles[0].year == year


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<?xml version="1.0"?>', '<?ADF VERSION "1.0"?>\n<?XML VERSION "1.0"?>'),
        ('<?xml version="1.0"?>', "Here is your lead:\n\n"),
        ('part="full"', "part=full"),
        ("Ada Example", "Ada & Example"),
        ("Ada Example", "Ada &nbsp;Example"),
        ("</adf>", "</adf>\n-- \nsent by a form"),
    ],
)
def test_known_breaks_are_mended_and_named(before: str, after: str) -> None:
    raw = document().decode().replace(before, after).encode()
    found = lead(raw)
    assert found.full_name.replace("& ", "") == "Ada Example" and found.metadata == {"adf.warnings": "xml_repaired"}


def test_a_mend_leaves_alone_what_is_right() -> None:
    comments = "<comments><![CDATA[x=1 & y=2 <a b=c>]]> &lt;&#233;&amp;</comments>"
    raw = b"junk" + document(comments=comments)
    assert lead(raw).metadata["adf.comments"] == "x=1 & y=2 <a b=c> <é&"


@pytest.mark.parametrize("place", ["whole", "mended"])
@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE adf SYSTEM "http://127.0.0.1:1/x.dtd">',
        '<!DOCTYPE adf [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>',
        '<!DOCTYPE adf [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
        "<!doctype adf []>",
    ],
)
def test_document_types_and_entities_are_refused(place: str, head: str) -> None:
    raw = document().decode().replace("<adf>", head + "<adf>")
    raw = raw.replace("Ada", "Ada &") if place == "mended" else raw
    with pytest.raises(Problem) as caught:
        lead(raw.encode())
    assert (caught.value.status, caught.value.kind) == (400, "xml-forbidden")


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (document('<name part="full">Ada</name>'), "adf/prospect/customer/contact/email"),
        (document("<email>ada@example.com</email>"), "adf/prospect/customer/contact/name"),
        (document(CONTACT.replace("ada@", "ada")), "adf/prospect/customer/contact/email"),
        (document(CONTACT + "<phone>1</phone>"), "adf/prospect/customer/contact/phone"),
        (document(vehicles=vehicle(interest="sell") + vehicle(year="1776")), "adf/prospect/vehicle[2]/year"),
    ],
)
def test_a_refusal_names_the_element(raw: bytes, field: str) -> None:
    with pytest.raises(Problem) as caught:
        lead(raw)
    assert caught.value.status == 422
    assert field in [error.field for error in caught.value.errors]
    assert all(error.pointer.startswith("/adf") for error in caught.value.errors)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0",
        b"{}",
        b"<adf>",
        b"<adf><prospect></adf>",
        b"\xff\xfe<\0",
        b"<a>" * 50_000,
        b"<lead/>",
        b"<adf/>",
        b"<adf><prospect/><prospect/></adf>",
    ],
)
def test_what_is_no_document_is_one_clear_refusal(raw: bytes) -> None:
    with pytest.raises(Problem) as caught:
        lead(raw)
    assert (caught.value.status, caught.value.kind) == (400, "xml-not-well-formed")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_declared_encodings_are_read(encoding: str) -> None:
    raw = document().decode().replace('"1.0"?>', f'"1.0" encoding="{encoding}"?>').replace("Ada", "Zoë")
    assert lead(raw.encode(encoding)).full_name == "Zoë Example"


def test_more_vehicles_than_a_lead_holds_are_kept_as_metadata() -> None:
    found = lead(document(vehicles=vehicle() * 7))
    assert len(found.vehicles) == 5
    assert (found.metadata["adf.vehicle.7.year"], found.metadata["adf.vehicle.7.model"]) == ("2021", "Wagon")


def test_more_metadata_than_a_lead_holds_stand_together_in_the_last_one() -> None:
    found = lead(document(CONTACT + "".join(f"<thing{number}>{number}</thing{number}>" for number in range(80))))
    assert len(found.metadata) == 50
    assert "adf.contact.thing79: 79" in str(found.metadata["adf.more"]).splitlines()


@pytest.mark.parametrize(
    "piece", ["<![CDATA[", "<!--", "<?", "<adf ", "</adf", "a='", 'a="', "<a a=", "&", "&amp", "<", "< ", "a=", "]]>"]
)
def test_a_hostile_document_takes_no_longer_than_a_plain_one(piece: str) -> None:
    raw = b"<adf>" + piece.encode() * (250_000 // len(piece)) + b"</adf>"
    began = time.process_time()
    with pytest.raises(Problem):
        lead(raw)
    assert time.process_time() - began < 10  # what is not linear takes minutes


PIECES = st.sampled_from(
    [
        "<adf>",
        "</adf>",
        "<prospect>",
        "</prospect>",
        "<customer>",
        "</customer>",
        "<contact>",
        "</contact>",
        "<name part='full'>",
        "</name>",
        "<email>",
        "</email>",
        "a@example.com",
        "<vehicle>",
        "</vehicle>",
        "<year>",
        "</year>",
        "21",
        "&",
        "&amp;",
        "&x;",
        "&#0;",
        "&#55296;",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?xml?>",
        "=",
        "'",
    ]
)


@given(st.lists(PIECES | st.text(max_size=8), max_size=50))
def test_no_document_breaks_the_reader(pieces: list[str]) -> None:
    raw = f"<adf>{''.join(pieces)}</adf>".encode("utf-8", "replace")
    try:
        assert isinstance(lead(raw), Lead)
    except Problem as problem:
        assert problem.status in (400, 422)
