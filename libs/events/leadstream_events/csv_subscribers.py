"""Reads subscribers from CSV: good lines become drafts, bad ones say which field is wrong and why.

Columns: email, name, active, states, leads_purchased, format (html, text or adf); only the first two must be there.
States stand apart by blanks, `|`, `;` or `/`. Reading is pure; spreadsheets' byte order mark is fine. `store` takes one
line, by address: the same file again changes nothing.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from leadstream_events.errors import LeadstreamError
from leadstream_events.schemas.subscriber import SubscriberDraft, SubscriberPatch
from leadstream_events.subscribers import SubscriberStore

COLUMNS = ("email", "name", "active", "states", "leads_purchased", "format")
_YES, _NO = ("true", "yes", "y", "1", "on"), ("false", "no", "n", "0", "off")


@dataclass(frozen=True, slots=True)
class Line:
    """A line that can be taken. `given` are the columns that the file has: others stay as they are."""

    number: int
    draft: SubscriberDraft
    given: frozenset[str]

    @property
    def patch(self) -> SubscriberPatch:
        """The change that makes an existing subscriber what this line says."""
        return SubscriberPatch(**{name: getattr(self.draft, name) for name in self.given})


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be taken; `problem` names the field."""

    number: int
    problem: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one line: `added`, `changed`, `unchanged` or `bad`."""

    line: int
    result: str
    subscriber_id: str | None = None
    problem: str | None = None


async def store(subscribers: SubscriberStore, line: Line, now: datetime) -> Taken:
    """Adds a subscriber, or changes the one with this address; raises what `SubscriberStore` raises."""
    found = await subscribers.by_address(line.draft.email)
    if found is None:
        added = await subscribers.add(line.draft, now)
        return Taken(line.number, "added", added.id)
    changes = line.patch.model_dump(exclude_unset=True)
    if all(getattr(found, name) == value for name, value in changes.items()):
        return Taken(line.number, "unchanged", found.id)
    await subscribers.change(found.id, line.patch, now)
    return Taken(line.number, "changed", found.id)


def read_subscribers(text: Iterable[str]) -> Iterator[Line | BadLine]:
    """Yields each line of the file; `LeadstreamError` when its columns are wrong."""
    reader = csv.DictReader(text, strict=True)
    try:
        names = [name.strip().lower().removeprefix("\ufeff") for name in reader.fieldnames or ()]
    except csv.Error as error:
        raise LeadstreamError(f"line 1: not CSV: {error}") from None
    _check_columns(names)
    reader.fieldnames = names
    seen: dict[str, int] = {}
    rows = iter(reader)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadLine(reader.line_num, f"not CSV: {error}")
            continue
        yield _line(reader.line_num, row, frozenset(names), seen)


def _check_columns(names: list[str]) -> None:
    unknown = [name for name in names if name not in COLUMNS]
    missing = [name for name in COLUMNS[:2] if name not in names]
    if unknown or missing or len(set(names)) != len(names):
        wrong = f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing) or 'none'}"
        raise LeadstreamError(f"line 1: the columns must be {', '.join(COLUMNS)} ({wrong})")


def _line(number: int, row: Mapping[str | None, object], names: frozenset[str], seen: dict[str, int]) -> Line | BadLine:
    if None in row:
        return BadLine(number, "has more fields than columns; quote a field that holds a comma")
    try:
        draft = SubscriberDraft(**_values({name: str(row.get(name) or "").strip() for name in names}))
    except ValidationError as error:
        first = error.errors()[0]
        return BadLine(number, f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}")
    except ValueError as error:
        return BadLine(number, str(error))
    before = seen.setdefault(draft.email.casefold(), number)
    if before != number:
        return BadLine(number, f"email: line {before} has the same address")
    return Line(number, draft, names)


def _values(row: Mapping[str, str]) -> dict[str, object]:
    out: dict[str, object] = {"email": row["email"], "name": row["name"]}
    if "active" in row:
        out["active"] = parse_active(row["active"])
    if "states" in row:
        out["states"] = parse_states(row["states"])
    if row.get("leads_purchased"):
        out["leads_purchased"] = _count(row["leads_purchased"])
    if row.get("format"):
        out["format"] = row["format"].lower()
    return out


def parse_active(text: str) -> bool:
    """`true`, `yes`, `1`, `false`, `no`, `0`; blank is true. ValueError otherwise."""
    if text.lower() in (*_YES, ""):
        return True
    if text.lower() in _NO:
        return False
    raise ValueError("active: must be true or false")


def parse_states(text: str) -> tuple[str, ...]:
    """Two-letter states with blanks, `|`, `;`, `/` or commas between."""
    return tuple(part for part in re.split(r"[\s|;,/]+", text) if part)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise ValueError("leads_purchased: must be a whole number, or blank for no limit")
    return int(text)
