"""A lead as it is accepted: one definition for JSON, web forms, batch lines and stored events.

Bad values raise pydantic's ValidationError, whose entries name the field. Nothing here checks that an address
or a phone can be reached.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from leadstream_events.text import multi_line, single_line

MAX_VEHICLES = 5
MAX_METADATA = 50
MAX_METADATA_KEY = 64
MAX_METADATA_TEXT = 10_000

Scalar = str | int | float | bool | None


# Local parts about which the library has nothing to say but yes; upper case is not among them (`Postmaster`).
_PLAIN_LOCAL = re.compile(r"[a-z0-9_+-]+(\.[a-z0-9_+-]+)*")
_STATE = re.compile(r"[A-Z]{2}")
_PHONE = re.compile(r"[0-9+().,/#\-\s;=a-zA-Z]*")
_VIN = re.compile(r"[A-HJ-NPR-Z0-9]{17}")
_ZIP = re.compile(r"[0-9]{5}(-[0-9]{4})?")


def normal_address(value: str) -> str:
    """Returns an address in its one spelling: domain in lower case and NFC, local part untouched.

    Quoted local parts and domain literals are refused (docs/cases.md, case 014). `.test` domains are let through
    since they can harm nobody and every test environment uses them.
    """
    local, _, domain = value.rpartition("@")
    if len(local) <= 64 and len(value) <= 254 and value.isascii() and _PLAIN_LOCAL.fullmatch(local):
        return local + _checked(f"a@{domain}")[1:]  # few domains have most of the addresses
    return _checked(value)


@lru_cache(maxsize=4096)  # every group that reads a lead checks its address again; the library takes 16 µs
def _checked(value: str) -> str:
    try:
        return validate_email(value, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        raise ValueError(str(error)) from error
    except UnicodeError as error:  # malformed punycode escapes the library's own error type in some versions
        raise ValueError("the domain is not valid") from error


def address_key(value: str) -> str:
    """Returns the spelling under which addresses are compared: suppressions hold for every one of them."""
    return value.strip().casefold()


def _state(value: str) -> str:
    value = single_line(value).upper()
    if not _STATE.fullmatch(value):
        raise ValueError("must be two letters, as in CA")
    return value


def _phone(value: str) -> str:
    value = single_line(value)
    digits = sum(map(str.isdigit, value))
    if not _PHONE.fullmatch(value) or not 7 <= digits <= 20:
        raise ValueError("must be a phone number with 7 to 20 digits")
    return value


def _vin(value: str) -> str:
    value = single_line(value).upper()
    if not _VIN.fullmatch(value):
        raise ValueError("must be 17 letters and digits without I, O and Q (ISO 3779)")
    return value


def _aware(value: datetime) -> datetime:
    """A time without an offset is taken as UTC (docs/cases.md, case 034)."""
    aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    try:
        return aware.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


def _iso_date(value: Any) -> Any:
    """Reads a date by hand: pydantic would take a row of digits for seconds since 1970."""
    return _iso(value, date.fromisoformat, "must be a day written as in 2026-03-28")


def _iso_time(value: Any) -> Any:
    return _iso(value, datetime.fromisoformat, "must be a time written as in 2026-03-28T18:05:09-05:00 (RFC 3339)")


def _iso(value: Any, read: Callable[[str], date], message: str) -> Any:
    if isinstance(value, date):
        return value
    try:
        if isinstance(value, str) and re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return read(value)
    except ValueError:
        pass
    raise ValueError(message)


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return value


def _zip(value: str) -> str:
    if not _ZIP.fullmatch(value):
        raise ValueError("must be 12345 or 12345-6789")
    return value


def _optional(check: Callable[[str], str], max_length: int) -> Any:
    """An optional text field in which blank means absent: scripts of web pages post empty strings."""

    def run(value: str | None) -> str | None:
        return check(value) if value and value.strip() else None

    return Annotated[Annotated[str, StringConstraints(max_length=max_length)] | None, AfterValidator(run)]


def _metadata(value: dict[str, Scalar]) -> dict[str, Scalar]:
    if len(value) > MAX_METADATA:
        raise ValueError(f"has more than {MAX_METADATA} entries")
    for key, item in value.items():
        if not 0 < len(key) <= MAX_METADATA_KEY or single_line(key) != key:
            raise ValueError(f"has a key that is empty, longer than {MAX_METADATA_KEY} characters or not plain text")
        if isinstance(item, str) and len(item) > MAX_METADATA_TEXT:
            raise ValueError(f"has a value longer than {MAX_METADATA_TEXT} characters")
        if isinstance(item, int) and abs(item) > 2**53:
            raise ValueError("has a number beyond 2**53, which JSON readers round")
    return {key: multi_line(item) if isinstance(item, str) else item for key, item in value.items()}


Address = Annotated[str, StringConstraints(max_length=254), AfterValidator(normal_address)]
Label = Annotated[str, StringConstraints(max_length=64), AfterValidator(single_line), AfterValidator(_not_empty)]
Name = Annotated[str, StringConstraints(max_length=200), AfterValidator(single_line), AfterValidator(_not_empty)]
State = Annotated[str, StringConstraints(max_length=16), AfterValidator(_state)]
Instant = Annotated[datetime, BeforeValidator(_iso_time), AfterValidator(_aware)]
BirthDate = Annotated[date, Field(ge=date(1900, 1, 1), le=date(2100, 1, 1)), BeforeValidator(_iso_date)]
# `_metadata` in JSON Schema's words, for the OpenAPI document.
_METADATA_SCHEMA = {
    "type": "object",
    "description": "Whole numbers up to 2**53",
    "maxProperties": MAX_METADATA,
    "propertyNames": {"minLength": 1, "maxLength": MAX_METADATA_KEY},
    "additionalProperties": {
        "type": ["string", "integer", "number", "boolean", "null"],
        "maxLength": MAX_METADATA_TEXT,
    },
}
Metadata = Annotated[dict[str, Scalar], AfterValidator(_metadata), WithJsonSchema(_METADATA_SCHEMA)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


if TYPE_CHECKING:  # what a type checker sees; pydantic sees the annotated forms below
    OptionalLine: TypeAlias = str | None
    Line100: TypeAlias = str | None
    Line1024: TypeAlias = str | None
    Line2048: TypeAlias = str | None
    LongText: TypeAlias = str | None
    Phone: TypeAlias = str | None
    OptionalState: TypeAlias = str | None
    Zip: TypeAlias = str | None
    Vin: TypeAlias = str | None
else:
    OptionalLine = _optional(single_line, 300)
    Line100 = _optional(single_line, 100)
    Line1024 = _optional(single_line, 1_024)
    Line2048 = _optional(single_line, 2_048)
    LongText = _optional(multi_line, 10_000)
    Phone = _optional(_phone, 64)
    OptionalState = _optional(_state, 16)
    Zip = _optional(_zip, 16)
    Vin = _optional(_vin, 32)

Count = Annotated[int, Field(ge=0, le=1_000)]


class Vehicle(_Strict):
    """One vehicle of a quote request."""

    year: int = Field(ge=1900, le=2100)
    make: Label
    model: Label
    vin: Vin = None


class Consent(_Strict):
    """What the visitor agreed to, where and when: kept as the proof of consent."""

    text: LongText = None
    url: Line2048 = None
    ip: Line100 = None
    user_agent: Line1024 = None
    time: Instant | None = None


class Lead(_Strict):
    """A person and up to five vehicles."""

    full_name: Name
    email: Address
    phone_number: Phone = None
    address: OptionalLine = None
    city: Line100 = None
    state: OptionalState = None
    zip_code: Zip = None
    birth_date: BirthDate | None = None
    tickets_past_year: Count | None = None
    accidents_past_year: Count | None = None
    is_homeowner: bool | None = None
    vehicles: Annotated[tuple[Vehicle, ...], Field(max_length=MAX_VEHICLES)] = ()
    source: OptionalLine = None
    consent: Consent | None = None
    metadata: Metadata = Field(default_factory=dict)
