"""Writes a lead as an ADF 1.0 document. Pure.

The bytes are ASCII: other characters stand as character references, so the XML is the same whatever a reader takes the
charset for. What XML 1.0 cannot hold at all (control characters, halves of surrogate pairs) becomes U+FFFD. Everything
of the lead is in the document: fields that ADF has no element for are lines of the customer's comments.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError, SubElement, indent, tostring

from defusedxml.ElementTree import fromstring

from leadstream_events.errors import Permanent
from leadstream_events.schemas.lead import Lead, Vehicle
from leadstream_mail.adf import names
from leadstream_mail.adf.rules import RULES, violations

PROLOG: Final = '<?xml version="1.0" encoding="UTF-8"?>\n<?adf version="1.0"?>\n'
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MOST_VENDOR_OCTETS = 900  # RFC 5322 section 2.1.1 ends a line at 998


class _Written:
    """A document in the making, and which metadata found a place in it."""

    def __init__(self, lead: Lead) -> None:
        self._metadata = lead.metadata
        self._placed: set[str] = set()

    def take(self, name: str) -> str | None:
        """The text of this metadata, if there is one that is not blank."""
        value = self._metadata.get(name)
        text = "" if value is None else clean(str(value))
        if not text:
            return None
        self._placed.add(name)
        return text

    def take_fitting(self, name: str, pattern: str) -> str | None:
        """The text if the format allows it; one that it does not stays for the comments."""
        value = self._metadata.get(name)
        return self.take(name) if isinstance(value, str) and re.fullmatch(pattern, value) else None

    def left(self) -> list[str]:
        """Metadata without a place, a line each."""
        return [
            f"{name}: {_said(value)}"
            for name, value in self._metadata.items()
            if name not in self._placed and value not in (None, "")
        ]


def clean(text: str) -> str:
    """The text as XML 1.0 can hold it (section 2.2), its line ends as line feeds, without blanks around it."""
    return _NOT_XML.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def document(lead_id: str, lead: Lead, received: datetime, public_url: str, vendor: str) -> str:
    """Returns the document, its lines ending in LF; `vendor` is put where the vendor's lines go.

    `Permanent("adf")` if it does not keep to the format, which would be a fault of ours.
    """
    root = Element("adf")
    prospect = SubElement(root, "prospect", status="new")
    written = _Written(lead)
    site = urlsplit(public_url).hostname or "leadstream"
    _leaf(prospect, "id", lead_id, sequence="1", source=site)
    _add_ids(prospect, written)
    # Already read from another document, or the moment of arrival.
    at = written.take_fitting(names.REQUESTDATE, _pattern("requestdate"))
    _leaf(prospect, "requestdate", at or received.astimezone(UTC).isoformat(timespec="seconds"))
    for number, vehicle in enumerate(lead.vehicles, 1):
        _add_vehicle(prospect, vehicle, number, written)
    customer = SubElement(prospect, "customer")
    _add_contact(customer, lead, written)
    comments = _comments(lead, written)
    if comments:
        _leaf(customer, "comments", comments)
    SubElement(prospect, "vendor")
    provider = SubElement(prospect, "provider")
    _leaf(provider, "name", clean(lead.source or "") or site, part="full", type="business")
    _leaf(provider, "url", public_url)
    indent(root, " ")
    return f"{PROLOG}{_serialized(root)}\n".replace("  <vendor />", vendor, 1)


def _serialized(element: Element) -> str:
    octets: bytes = tostring(element, encoding="us-ascii", xml_declaration=False)
    return octets.decode("us-ascii")


def checked(text: str) -> str:
    """Returns the document if it is well-formed and keeps to ADF 1.0; `Permanent("adf")` names the element at fault."""
    try:
        wrong = violations(fromstring(text, forbid_dtd=True))
    except ParseError as error:
        raise Permanent("adf", f"not well-formed: line {error.position[0]}") from None
    if wrong:
        raise Permanent("adf", wrong[0])
    return text


def vendor_lines(name: str | None, address: str) -> str:
    """Returns the lines of the vendor: the subscriber who gets the document. The last line has no end."""
    shown = _shortened(clean(name or "") or address)
    vendor = Element("vendor")
    _leaf(vendor, "vendorname", shown)
    contact = SubElement(vendor, "contact")
    _leaf(contact, "name", shown, part="full")
    _leaf(contact, "email", clean(address))
    indent(vendor, " ", level=2)
    return "  " + _serialized(vendor)


def _shortened(name: str) -> str:
    """A name so long that it would not fit on a line as character references is cut."""
    while len(name.encode("us-ascii", "xmlcharrefreplace")) + 4 * sum(map(name.count, "&<>")) > _MOST_VENDOR_OCTETS:
        name = name[:-1]
    return name


def _add_ids(prospect: Element, written: _Written) -> None:
    """The ids that a document gave its prospect before it came here, after ours."""
    number = 1
    while (source := written.take(names.numbered("id", number) + ".source")) is not None:
        value = written.take(names.numbered("id", number))
        if value is not None:
            _leaf(prospect, "id", value, sequence=str(number + 1), source=_line(source))
        number += 1


def _add_vehicle(prospect: Element, vehicle: Vehicle, number: int, written: _Written) -> None:
    out = SubElement(prospect, "vehicle")
    for attribute, pattern in RULES["vehicle"].attributes.items():
        value = written.take_fitting(names.vehicle(number, attribute), pattern)
        if value is not None or attribute == "interest":
            out.set(attribute, value or "buy")
    _leaf(out, "year", f"{vehicle.year:04d}")
    _leaf(out, "make", clean(vehicle.make))
    _leaf(out, "model", clean(vehicle.model))
    if vehicle.vin:
        _leaf(out, "vin", vehicle.vin)
    for name in (*names.BEFORE_ODOMETER, "odometer", "condition", "price", "comments"):
        key = names.vehicle(number, name)
        rule = RULES[name]
        text = written.take_fitting(key, _pattern(name)) if name == "condition" else written.take(key)
        if text is None:
            continue
        leaf = _leaf(out, name, text)
        for attribute, pattern in rule.attributes.items():
            value = written.take_fitting(f"{key}.{attribute}", pattern)
            if value is not None:
                leaf.set(attribute, value)


def _add_contact(customer: Element, lead: Lead, written: _Written) -> None:
    contact = SubElement(customer, "contact", primarycontact="1")
    _leaf(contact, "name", clean(lead.full_name), part="full", type="individual")
    for part in names.NAME_PARTS:
        value = written.take(names.name_part(part))
        if value is not None:
            _leaf(contact, "name", value, part=part, type="individual")
    _leaf(contact, "email", clean(lead.email), preferredcontact="1")
    if lead.phone_number:
        phone = _leaf(contact, "phone", clean(lead.phone_number))
        _add_phone_attributes(phone, names.numbered("phone", 1), written)
    number = 2
    while (value := written.take(names.numbered("phone", number))) is not None:
        _add_phone_attributes(_leaf(contact, "phone", value), names.numbered("phone", number), written)
        number += 1
    _add_address(contact, lead, written)


def _add_phone_attributes(phone: Element, key: str, written: _Written) -> None:
    for attribute in ("type", "time"):
        value = written.take_fitting(f"{key}.{attribute}", RULES["phone"].attributes[attribute])
        if value is not None or attribute == "type":
            phone.set(attribute, value or "voice")


def _add_address(contact: Element, lead: Lead, written: _Written) -> None:
    region, code = lead.state or written.take(names.REGION), lead.zip_code or written.take(names.POSTALCODE)
    parts = (("street", lead.address), ("city", lead.city), ("regioncode", region), ("postalcode", code))
    found = [(name, clean(value)) for name, value in parts if value and clean(value)]
    country = written.take(names.COUNTRY)
    if country is not None:
        found.append(("country", country))
    if not found:
        return
    address = SubElement(contact, "address", type="home")
    for name, value in found:
        leaf = _leaf(address, name, value)
        if name == "street":
            leaf.set("line", "1")


def _comments(lead: Lead, written: _Written) -> str:
    said = written.take(names.COMMENTS)
    answers = (
        ("Date of birth", lead.birth_date),
        ("Tickets in the past year", lead.tickets_past_year),
        ("Accidents in the past year", lead.accidents_past_year),
        ("Home owner", lead.is_homeowner),
    )
    lines = [f"{label}: {_said(value)}" for label, value in answers if value is not None]
    if lead.consent is not None:
        given = lead.consent.model_dump(mode="json", exclude_none=True)
        lines += [f"Consent, {name.replace('_', ' ')}: {value}" for name, value in given.items()]
    lines += written.left()
    return clean("\n".join(filter(None, (said, *lines))))


def _said(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _pattern(name: str) -> str:
    pattern = RULES[name].text
    return pattern.pattern if pattern else ""


def _line(text: str) -> str:
    return " ".join(text.split())


def _leaf(parent: Element, name: str, text: str, **attributes: str) -> Element:
    leaf = SubElement(parent, name, attributes)
    leaf.text = text
    return leaf
