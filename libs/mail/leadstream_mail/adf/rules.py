"""The structure of ADF 1.0, checked before a document goes out. Pure.

The DTD that was published with ADF 1.0 cannot be loaded by any XML parser, so its element table is written down here:
which children an element has, in which order, how often, and what its attributes and texts may say. Two things are
looser than there: a prospect may name no vehicle, and a vendor no contact, since leads without either are real.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element

ONE, MAYBE, SOME, ANY = (1, 1), (0, 1), (1, 10_000), (0, 10_000)
_YEAR = re.compile(r"[0-9]{4}")
# ISO 8601 with an offset, so that the instant is the same for every reader.
_TIME = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](?:Z|[+-][0-2][0-9]:[0-5][0-9])")
_TEXT = re.compile(r".*\S.*", re.DOTALL)
_MAIL = re.compile(r"[^\s@]+@[^\s@]+")
_FLAG = "0|1"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one element may hold. `text` is for leaves; `attributes` gives the pattern of each value."""

    children: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    text: re.Pattern[str] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ()


_LEAF = Rule(text=_TEXT)
_CONTACT: Final = Rule(
    {"name": SOME, "email": ANY, "phone": ANY, "address": MAYBE}, attributes={"primarycontact": _FLAG}
)
_VEHICLE_LEAVES: Final = ("vin", "stock", "trim", "doors", "bodystyle", "transmission")
# A name that occurs in several places has one meaning in ADF, except `contact`, `name` and `id`, which are alike too.
RULES: Final[Mapping[str, Rule]] = {
    "adf": Rule({"prospect": SOME}),
    "prospect": Rule(
        {"id": ANY, "requestdate": ONE, "vehicle": ANY, "customer": ONE, "vendor": ONE, "provider": MAYBE},
        attributes={"status": "new|resend"},
    ),
    "id": Rule(text=_TEXT, attributes={"sequence": "[0-9]+", "source": r".*\S.*"}, needed=("source",)),
    "requestdate": Rule(text=_TIME),
    "vehicle": Rule(
        {"year": ONE, "make": ONE, "model": ONE}
        | dict.fromkeys(_VEHICLE_LEAVES, MAYBE)
        | {"odometer": MAYBE, "condition": MAYBE, "price": ANY, "comments": MAYBE},
        attributes={"interest": "buy|lease|sell|trade-in|test-drive", "status": "new|used"},
    ),
    "year": Rule(text=_YEAR),
    "odometer": Rule(
        text=_TEXT, attributes={"status": "unknown|rolledover|replaced|original", "units": "km|mi|kilometers|miles"}
    ),
    "condition": Rule(text=re.compile("excellent|good|fair|poor|unknown")),
    "price": Rule(
        text=_TEXT,
        attributes={
            "type": "quote|offer|msrp|invoice|call|appraisal|asking",
            "currency": "[A-Z]{3}",
            "delta": "absolute|relative|percentage",
            "relativeto": "msrp|invoice",
        },
    ),
    "customer": Rule({"contact": ONE, "id": ANY, "comments": MAYBE}),
    "contact": _CONTACT,
    "name": Rule(
        text=_TEXT,
        attributes={"part": "first|middle|suffix|last|full|surname", "type": "individual|business"},
    ),
    "email": Rule(text=_MAIL, attributes={"preferredcontact": _FLAG}),
    "phone": Rule(
        text=_TEXT,
        attributes={
            "type": "phone|voice|fax|cellphone|pager",
            "time": "morning|afternoon|evening|nopreference|day",
            "preferredcontact": _FLAG,
        },
    ),
    "address": Rule(
        {"street": ANY, "apartment": MAYBE, "city": MAYBE, "regioncode": MAYBE, "postalcode": MAYBE, "country": MAYBE},
        attributes={"type": "work|home|delivery"},
    ),
    "street": Rule(text=_TEXT, attributes={"line": "[0-9]+"}),
    "vendor": Rule({"id": ANY, "vendorname": ONE, "url": MAYBE, "contact": MAYBE}),
    "provider": Rule({"id": ANY, "name": ONE, "service": MAYBE, "url": MAYBE, "email": MAYBE, "phone": MAYBE}),
    **dict.fromkeys(
        (
            *_VEHICLE_LEAVES,
            *("make", "model", "comments", "apartment", "city", "regioncode", "postalcode", "country"),
            *("vendorname", "url", "service"),
        ),
        _LEAF,
    ),
}


def violations(root: Element) -> list[str]:
    """Returns what is wrong, each with the path of its element; empty for a document that keeps to ADF 1.0."""
    if root.tag != "adf":
        return [f"{root.tag}: the document element must be adf"]
    return list(_check(root, "adf"))


def _check(element: Element, path: str) -> Iterator[str]:
    rule = RULES.get(element.tag)
    if rule is None:
        yield f"{path}: is no element of ADF 1.0"
        return
    yield from _check_attributes(element, rule, path)
    if rule.text is not None:
        if len(element):
            yield f"{path}: must hold text alone"
        elif not rule.text.fullmatch(element.text or ""):
            yield f"{path}: the text does not fit"
        return
    yield from _check_children(element, rule, path)
    for child in element:
        yield from _check(child, f"{path}/{child.tag}")


def _check_attributes(element: Element, rule: Rule, path: str) -> Iterator[str]:
    for name, value in element.attrib.items():
        if name not in rule.attributes:
            yield f"{path}/@{name}: is no attribute here"
        elif not re.fullmatch(rule.attributes[name], value):
            yield f"{path}/@{name}: the value does not fit"
    for name in rule.needed:
        if name not in element.attrib:
            yield f"{path}/@{name}: is missing"


def _check_children(element: Element, rule: Rule, path: str) -> Iterator[str]:
    order = list(rule.children)
    names = [child.tag for child in element]
    known = [order.index(name) for name in names if name in rule.children]
    if known != sorted(known):
        yield f"{path}: its elements must come in the order {', '.join(order)}"
    for name, (least, most) in rule.children.items():
        if not least <= names.count(name) <= most:
            often = "once" if most == 1 else "at least once"
            yield f"{path}/{name}: must be there {often}, is there {names.count(name)} times"
    for name in dict.fromkeys(names):
        if name not in rule.children and name in RULES:
            yield f"{path}/{name}: does not belong here"
    if any(text and text.strip() for text in (element.text, *(child.tail for child in element))):
        yield f"{path}: must hold elements alone"
    if element.tag == "contact" and not {"email", "phone"} & set(names):
        yield f"{path}: must have an email or a phone"
