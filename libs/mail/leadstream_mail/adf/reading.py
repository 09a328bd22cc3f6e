"""Reads an ADF document as a lead: what has a field goes there, everything else is kept as metadata. Pure.

The data is validated as strictly as JSON afterwards; `places` names the XML element of each field, so that an error can
name it. Metadata names are those of `names.py`. What was guessed or mended is listed in `adf.warnings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from xml.etree.ElementTree import Element

from leadstream_events.schemas.lead import MAX_METADATA, MAX_METADATA_KEY, MAX_VEHICLES
from leadstream_mail.adf import names
from leadstream_mail.adf.elements import instant, is_whole, numbered_children, preferred, storable, text_of
from leadstream_mail.adf.xml import Unreadable, read_tree

MEDIA_TYPES: Final = ("application/x-adf+xml", "application/xml", "text/xml")
Loc = tuple[str | int, ...]

_VIN = re.compile("[A-HJ-NPR-Za-hj-npr-z0-9]{17}")
_ZIP = re.compile(r"[0-9]{5}(-[0-9]{4})?")
_AMOUNT = re.compile(r"[$€£]?\s?([0-9][0-9,]*(?:\.[0-9]+)?)")
_FIRST = ("buy", "lease", "test-drive")  # what the person wants, before what he has
_DEFAULTS = {"interest": "buy", "status": "new"}  # of a vehicle, by ADF 1.0
_ROOT = "/adf/prospect"
_CONTACT = f"{_ROOT}/customer/contact"


@dataclass(frozen=True, slots=True)
class AdfLead:
    """The JSON form of a lead, not validated yet, and the XPath of the element that each field came from."""

    data: Mapping[str, Any]
    places: Mapping[Loc, str]

    def place(self, loc: Loc) -> str:
        """The element of a field, or of the nearest one around it."""
        while loc and loc not in self.places:
            loc = loc[:-1]
        return self.places.get(loc, _ROOT)


def read_adf(body: bytes, now: datetime) -> AdfLead:
    """Returns the lead in a document of one prospect; `Unreadable` if it is none. `now` tells years of two digits."""
    tree = read_tree(body)
    if tree.root.tag != "adf":
        raise Unreadable("the document element is not adf")
    prospects = tree.root.findall("prospect")
    if len(prospects) != 1:
        raise Unreadable(f"/adf holds {len(prospects)} prospect elements; send one in each request")
    reader = _Reader(now)
    if tree.repaired:
        reader.warn("xml_repaired")
    return reader.read(prospects[0])


@dataclass
class _Reader:
    now: datetime
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Loc, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, word: str) -> None:
        """Notes once that something was guessed or mended."""
        if word not in self.warnings:
            self.warnings.append(word)

    def read(self, prospect: Element) -> AdfLead:
        for loc, path in (("full_name", "name"), ("email", "email"), ("phone_number", "phone"), ("address", "address")):
            self.places[(loc,)] = f"{_CONTACT}/{path}"
        self.places[("vehicles",)] = f"{_ROOT}/vehicle"
        self._ids(prospect.findall("id"))
        self._requestdate(prospect.find("requestdate"))
        self._vehicles(prospect.findall("vehicle"))
        customer = prospect.find("customer")
        if customer is not None:
            self._customer(customer)
        self._parties(prospect)
        read = ("id", "requestdate", "vehicle", "customer", "vendor", "provider")
        self._rest(prospect, "adf", _ROOT, read)
        if self.warnings:
            self.metadata = {names.WARNINGS: ", ".join(self.warnings)} | self.metadata
        self._fit()
        return AdfLead(self.data | {"metadata": self.metadata}, self.places)

    def _field(self, loc: Loc, target: dict[str, Any], text: str, path: str) -> None:
        """Sets a field, each run of blanks as one."""
        self.places[loc] = path
        if text:
            target[str(loc[-1])] = " ".join(text.split())

    def _keep(self, key: str, text: str, path: str) -> None:
        """Keeps a text as metadata; several under one name stand one below the other."""
        key, text = key[:MAX_METADATA_KEY], text.strip()
        if text:
            self.metadata[key] = f"{self.metadata[key]}\n{text}" if key in self.metadata else text
            self.places.setdefault(("metadata", key), path)

    def _flatten(self, element: Element, key: str, path: str) -> None:
        """Keeps a whole element: its text, its attributes and what is in it."""
        self._keep(key, element.text or "", path)
        for name, value in element.attrib.items():
            self._keep(f"{key}.{name}", value, f"{path}/@{name}")
        self._rest(element, key, path, ())

    def _rest(self, element: Element, key: str, path: str, read: Iterable[str]) -> None:
        """Keeps every child that has no place of its own."""
        for child, child_path, number in numbered_children(element, path):
            if child.tag not in read:
                self._flatten(child, f"{key}.{child.tag}" + (f".{number}" if number > 1 else ""), child_path)

    def _ids(self, ids: list[Element]) -> None:
        for number, each in enumerate(ids, 1):
            key = names.numbered("id", number)
            self._keep(key, text_of(each), f"{_ROOT}/id[{number}]")
            self._keep(f"{key}.source", each.get("source", ""), f"{_ROOT}/id[{number}]/@source")

    def _requestdate(self, element: Element | None) -> None:
        """A time that has one meaning only; of another kind the arrival counts, and the text is kept."""
        text = text_of(element)
        if not text:
            return
        at = instant(text)
        if at is None:
            self.warn("requestdate_ambiguous")
            self._keep(f"{names.REQUESTDATE}.given", text, f"{_ROOT}/requestdate")
        else:
            self._keep(names.REQUESTDATE, at.isoformat(timespec="seconds"), f"{_ROOT}/requestdate")

    def _vehicles(self, found: list[Element]) -> None:
        """What the person wants comes first: the mail's subject and its reader look there."""
        numbered = sorted(
            enumerate(found, 1),
            key=lambda each: (not is_whole(each[1]), each[1].get("interest", "buy").lower() not in _FIRST),
        )
        self.data["vehicles"] = []
        for index, (number, element) in enumerate(numbered):
            path = f"{_ROOT}/vehicle[{number}]" if len(found) > 1 else f"{_ROOT}/vehicle"
            read: tuple[str, ...] = ("price", "odometer")
            if not is_whole(element):
                self.warn("vehicle_incomplete")
            elif index < MAX_VEHICLES:
                self.data["vehicles"].append(self._vehicle(element, index, path))
                read += ("year", "make", "model", *(("vin",) if "vin" in self.data["vehicles"][-1] else ()))
            for name in ("interest", "status"):
                self._keep(names.vehicle(index + 1, name), element.get(name, _DEFAULTS[name]), f"{path}/@{name}")
            self._amounts(element, index + 1, path)
            self._rest(element, f"adf.vehicle.{index + 1}", path, read)

    def _vehicle(self, element: Element, index: int, path: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name in ("year", "make", "model", "vin"):
            text = text_of(element.find(name))
            if name != "vin" or _VIN.fullmatch(text):  # another number must not lose the lead
                self._field(("vehicles", index, name), out, text, f"{path}/{name}")
        year = out["year"]
        out["year"] = int(year)
        if len(year) == 2:
            self.warn("two_digit_year")
            out["year"] += 2000 if 2000 + int(year) <= self.now.year + 1 else 1900
        return out

    def _amounts(self, element: Element, number: int, path: str) -> None:
        """Odometers and prices without separators and signs; a price says its kind, and its currency if it has one."""
        for child, child_path, count in numbered_children(element, path):
            if child.tag not in ("odometer", "price") or not text_of(child):
                continue
            key = names.vehicle(number, child.tag) + (f".{count}" if count > 1 else "")
            amount = _AMOUNT.fullmatch(text_of(child))
            self._keep(key, amount[1].replace(",", "") if amount else text_of(child), child_path)
            attributes = dict(child.attrib)
            if child.tag == "price":
                attributes.setdefault("type", "quote")
                if not attributes.get("currency"):
                    self.warn("no_currency")
            for name, value in attributes.items():
                self._keep(f"{key}.{name}", value, f"{child_path}/@{name}")

    def _customer(self, customer: Element) -> None:
        contacts = customer.findall("contact")
        contact = next((each for each in contacts if each.get("primarycontact") == "1"), next(iter(contacts), None))
        if contact is not None:
            self._name(contact.findall("name"))
            self._emails(contact.findall("email"))
            self._phones(contact.findall("phone"))
            address = contact.find("address")
            if address is not None:
                self._address(address)
            self._rest(contact, "adf.contact", _CONTACT, ("name", "email", "phone", "address"))
        self._keep(names.COMMENTS, text_of(customer.find("comments")), f"{_ROOT}/customer/comments")
        self._rest(customer, "adf.customer", f"{_ROOT}/customer", ("contact", "comments"))

    def _name(self, found: list[Element]) -> None:
        parts: dict[str, str] = {}
        for each in found:
            parts.setdefault(each.get("part", "full").lower(), text_of(each))
        order = [parts.get(part, "") for part in ("first", "middle", "surname", "last", "suffix")]
        whole = parts.get("full") or " ".join(part for part in order if part)
        self._field(("full_name",), self.data, whole, f"{_CONTACT}/name")
        for part in names.NAME_PARTS:
            self._keep(names.name_part(part), parts.get(part, ""), f"{_CONTACT}/name[@part='{part}']")

    def _emails(self, found: list[Element]) -> None:
        ranked = preferred(found)
        for position, (number, each) in enumerate(ranked, 1):
            path = f"{_CONTACT}/email" + (f"[{number}]" if len(found) > 1 else "")
            if position == 1:
                self._field(("email",), self.data, text_of(each), path)
            else:
                self._keep(names.numbered("email", position), text_of(each), path)

    def _phones(self, found: list[Element]) -> None:
        for position, (number, each) in enumerate(preferred(found), 1):
            path = f"{_CONTACT}/phone" + (f"[{number}]" if len(found) > 1 else "")
            key = names.numbered("phone", position)
            if position == 1:
                self._field(("phone_number",), self.data, text_of(each), path)
            else:
                self._keep(key, text_of(each), path)
            if text_of(each):
                self._keep(f"{key}.type", each.get("type", "voice"), f"{path}/@type")
                self._keep(f"{key}.time", each.get("time", ""), f"{path}/@time")

    def _address(self, address: Element) -> None:
        path = f"{_CONTACT}/address"
        streets = sorted(address.findall("street"), key=lambda each: each.get("line", "").zfill(3))
        lines = [text_of(each) for each in [*streets, *address.findall("apartment")]]
        self._field(("address",), self.data, ", ".join(line for line in lines if line), f"{path}/street")
        self._field(("city",), self.data, text_of(address.find("city")), f"{path}/city")
        region, code = text_of(address.find("regioncode")), text_of(address.find("postalcode"))
        if re.fullmatch("[A-Za-z]{2}", region):
            self._field(("state",), self.data, region, f"{path}/regioncode")
        else:
            self._keep(names.REGION, region, f"{path}/regioncode")
        if _ZIP.fullmatch(code):
            self._field(("zip_code",), self.data, code, f"{path}/postalcode")
        else:
            self._keep(names.POSTALCODE, code, f"{path}/postalcode")
        self._keep(names.COUNTRY, text_of(address.find("country")), f"{path}/country")
        read = ("street", "apartment", "city", "regioncode", "postalcode", "country")
        self._rest(address, "adf.address", path, read)

    def _parties(self, prospect: Element) -> None:
        """Who sends the lead and for whom; the first that says its name is the lead's source."""
        said = {}
        for party, naming in (("provider", "name"), ("vendor", "vendorname")):
            element, path = prospect.find(party), f"{_ROOT}/{party}"
            said[party] = ("" if element is None else text_of(element.find(naming)), f"{path}/{naming}")
            if element is not None:
                self._keep(f"adf.{party}", *said[party])
                self._rest(element, f"adf.{party}", path, (naming,))
        sources = [(each.get("source", "").strip(), f"{_ROOT}/id/@source") for each in prospect.findall("id")]
        for text, path in [said["provider"], *sources, said["vendor"]]:
            if text:
                self._field(("source",), self.data, text, path)
                return

    def _fit(self) -> None:
        """A lead holds so many metadata; what is beyond that stands together in the last one."""
        if len(self.metadata) > MAX_METADATA:
            items = list(self.metadata.items())
            kept, more = items[: MAX_METADATA - 1], items[MAX_METADATA - 1 :]
            self.metadata = dict(kept) | {names.MORE: "\n".join(f"{key}: {value}" for key, value in more)}
        for key, value in self.metadata.items():  # an error of metadata does not say which one
            if not storable(value):
                self.places[("metadata",)] = self.places.get(("metadata", key), _ROOT)
