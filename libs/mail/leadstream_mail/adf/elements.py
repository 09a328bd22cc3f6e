"""What the elements of an ADF document say, taken one by one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from xml.etree.ElementTree import Element

from leadstream_events.schemas.lead import MAX_METADATA_TEXT
from leadstream_events.text import multi_line

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_YEAR = re.compile("[0-9]{2}(?:[0-9]{2})?")


def storable(value: str) -> bool:
    """False for what the lead's metadata will refuse."""
    try:
        multi_line(value)
    except ValueError:
        return False
    return len(value) <= MAX_METADATA_TEXT


def text_of(element: Element | None) -> str:
    """The text of an element, without blanks around it; '' for one that is not there."""
    return "" if element is None else "".join(element.itertext()).strip()


def is_whole(vehicle: Element) -> bool:
    """True when it says what a lead's vehicle must say."""
    year, make, model = (text_of(vehicle.find(name)) for name in ("year", "make", "model"))
    return bool(_YEAR.fullmatch(year) and make and model)


def numbered_children(element: Element, path: str) -> Iterable[tuple[Element, str, int]]:
    """The children, each with its XPath and its number among those of its name."""
    counts: dict[str, int] = {}
    for child in element:
        counts[child.tag] = counts.get(child.tag, 0) + 1
        number = counts[child.tag]
        yield child, f"{path}/{child.tag}" + (f"[{number}]" if number > 1 else ""), number


def preferred(found: list[Element]) -> list[tuple[int, Element]]:
    """The elements that say something, with their numbers, the one that the person prefers first."""
    said = [(number, each) for number, each in enumerate(found, 1) if text_of(each)]
    return sorted(said, key=lambda each: each[1].get("preferredcontact") != "1")


def instant(text: str) -> datetime | None:
    """A time as ISO 8601 writes it; without an offset it is UTC, as everywhere (docs/cases.md, case 034)."""
    if not _TIME.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
