"""Web forms as leads: what browsers, Django formsets and PHP-style names post, turned into the JSON form of a lead.

Accepted spellings: `vehicles[0][make]`, `vehicles[0].make`, `vehicles-0-make` (Django formset), `vehicles.0.make`;
`consent[text]`, `consent.text`, `consent-text`; the same for `metadata`. Blank values count as absent, of a repeated
field the last value counts (a hidden field before a checkbox), and rows without a value are left out.

A field that a lead does not have is kept as metadata, shortened and cleaned if need be: a site's extra field must not
lose the lead. A form cannot say types, so a field that must be a number or a yes/no is converted when it looks like
one, and then everything is validated as strictly as JSON.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import multipart  # type: ignore[import-untyped]

from leadstream_api import limits
from leadstream_api.problems import FieldError, Problem, field_error, invalid, unreadable
from leadstream_events.schemas.lead import MAX_METADATA, Consent, Lead, Vehicle

Fields = list[tuple[str, str]]

_PARTS = re.compile(r"[^\[\].\-]+")
_BOOLEANS = {"on": True, "true": True, "1": True, "yes": True, "off": False, "false": False, "0": False, "no": False}
_INTEGERS = frozenset(("year", "tickets_past_year", "accidents_past_year"))
_TEXTS = frozenset(Lead.model_fields) - {"vehicles", "consent", "metadata"}
_DROPPED = frozenset(("csrf_token", "csrfmiddlewaretoken", "_token", "authenticity_token"))
_MANAGEMENT = frozenset(("TOTAL_FORMS", "INITIAL_FORMS", "MIN_NUM_FORMS", "MAX_NUM_FORMS"))
_ROW_CONTROLS = frozenset(("ORDER", "id"))
_INDEX = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class FormLead:
    """A form on its way to a lead. `rows` holds the index that each vehicle had in the form."""

    data: dict[str, Any]
    rows: list[int]

    def relocate(self, errors: Sequence[FieldError]) -> list[FieldError]:
        """Names vehicles by the index that they had in the form."""
        return [self._relocated(error) for error in errors]

    def _relocated(self, error: FieldError) -> FieldError:
        head, _, rest = error.field.partition(".")
        number, _, tail = rest.partition(".")
        if head != "vehicles" or not number.isdigit() or int(number) >= len(self.rows):
            return error
        return field_error([head, self.rows[int(number)], *([tail] if tail else [])], error.message)


def urlencoded_fields(body: bytes) -> Fields:
    """Reads `application/x-www-form-urlencoded` (WHATWG URL, section 5)."""
    try:
        return parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=limits.FORM_FIELDS, separator="&"
        )
    except UnicodeDecodeError:
        raise unreadable("The form is not valid UTF-8") from None
    except ValueError:
        raise _too_many_fields() from None


def multipart_fields(body: bytes, boundary: str) -> Fields:
    """Reads `multipart/form-data` (RFC 7578); a part with a file is refused by name."""
    if not 0 < len(boundary) <= 70 or not boundary.isascii():  # RFC 2046 section 5.1.1
        raise unreadable("The multipart boundary is missing or not valid")
    out: Fields = []
    name, chunks, is_file = "", [], False  # type: str, list[bytes], bool
    try:
        parser = multipart.PushMultipartParser(boundary, max_segment_count=limits.FORM_FIELDS)
        for event in [*parser.parse(body), *parser.parse(b"")]:
            if isinstance(event, multipart.MultipartSegment):
                name, chunks, is_file = event.name, [], event.filename is not None
            elif event is not None:
                chunks.append(bytes(event))
            else:
                _take_part(out, name, b"".join(chunks), is_file)
    except multipart.ParserLimitReached:
        raise _too_many_fields() from None
    except UnicodeDecodeError:
        raise unreadable("The form is not valid UTF-8") from None
    except (multipart.MultipartError, ValueError, LookupError):
        raise unreadable("The multipart body is not well formed") from None
    return out


def _take_part(out: Fields, name: str, value: bytes, is_file: bool) -> None:
    if not is_file:
        out.append((name, value.decode()))
    elif value:  # browsers post an empty part for a file field that was left alone
        raise invalid([field_error([name], "is a file; files are not taken")])


def _too_many_fields() -> Problem:
    return Problem(413, "too-many-fields", f"The form has more than {limits.FORM_FIELDS} fields")


def lead_from_fields(fields: Iterable[tuple[str, str]]) -> FormLead:
    """Returns the JSON form of the lead that the fields describe; it is not validated yet."""
    collected = _Collected()
    for name, value in fields:
        parts = _PARTS.findall(name)
        if value.strip() and parts and name not in _DROPPED:
            collected.take(name, parts, value)
    return collected.lead()


class _Collected:
    """What has been read of a form so far."""

    def __init__(self) -> None:
        self._plain: dict[str, Any] = {}
        self._consent: dict[str, str] = {}
        self._rows: dict[int, dict[str, Any]] = {}
        self._deleted: set[int] = set()
        self._metadata: dict[str, str] = {}

    def take(self, name: str, parts: list[str], value: str) -> None:
        match parts:
            case [only] if only in _TEXTS and only == name:
                self._plain[only] = _typed(only, value)
            case ["vehicles", control] if control in _MANAGEMENT:
                return
            case ["vehicles", index, item] if _INDEX.fullmatch(index):
                self._take_of_vehicle(int(index), item, name, value)
            case ["consent", item] if item in Consent.model_fields:
                self._consent[item] = value
            case ["metadata", _, *_]:
                self._keep(name.removeprefix("metadata").strip("[].-"), value)
            case _:
                self._keep(name, value)

    def _take_of_vehicle(self, row: int, item: str, name: str, value: str) -> None:
        if item == "DELETE":
            self._deleted.add(row)
        elif item in Vehicle.model_fields:
            self._rows.setdefault(row, {})[item] = _typed(item, value)
        elif item not in _ROW_CONTROLS:
            self._keep(name, value)

    def _keep(self, name: str, value: str) -> None:
        """Keeps a field that a lead does not have, in the bounds of metadata."""
        key = _clean(name)[:64].strip()
        if key and (key in self._metadata or len(self._metadata) < MAX_METADATA):
            self._metadata[key] = _clean(value, "\n\t")[:10_000]

    def lead(self) -> FormLead:
        rows = sorted(set(self._rows) - self._deleted)
        data = dict(self._plain)
        if rows:
            data["vehicles"] = [self._rows[row] for row in rows]
        if self._consent:
            data["consent"] = self._consent
        if self._metadata:
            data["metadata"] = self._metadata
        return FormLead(data, rows)


def _typed(name: str, value: str) -> Any:
    text = value.strip()
    if name == "is_homeowner":
        return _BOOLEANS.get(text.lower(), value)
    if name in _INTEGERS and re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    return text if name == "birth_date" else value


def _clean(text: str, kept: str = "") -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        char for char in text if char in kept or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ).strip()
