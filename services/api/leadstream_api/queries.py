"""Query parameters, read strictly: an unknown, repeated or wrong one is a 400 that names it."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from litestar import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from leadstream_api import limits
from leadstream_api.problems import bad_parameters, field_error, field_errors
from leadstream_events.schemas.lead import Instant
from leadstream_events.schemas.subscriber import MailFormat
from leadstream_events.text import single_line
from leadstream_events.views_stats import Bucket

Query = TypeVar("Query", bound=BaseModel)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+\- ]\d{2}:\d{2})?")


def _time(value: object) -> object:
    """RFC 3339; pydantic alone would take any number for a time. An unescaped + arrives as a blank."""
    text = str(value)
    if not _TIME.fullmatch(text) or not text.isascii():
        raise ValueError("must be a time such as 2026-03-29T02:30:00Z")
    return text.replace(" ", "+")


def _number(value: object) -> object:
    if not re.fullmatch(r"[0-9]{1,9}", str(value), re.ASCII):
        raise ValueError("must be a whole number")
    return int(str(value))


Time = Annotated[Instant, BeforeValidator(_time)]
Limit = Annotated[int, BeforeValidator(_number), Field(ge=1, le=limits.PAGE_MAX)]
Cursor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_\-]{1,4000}$")]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(_Query):
    """No parameters at all."""


class PageQuery(_Query):
    """A page of a list."""

    limit: Limit = limits.PAGE_DEFAULT
    cursor: Cursor | None = None


class LeadsQuery(PageQuery):
    """A page of leads, filtered."""

    state: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2}$", to_upper=True)] | None = None
    source: Annotated[str, StringConstraints(min_length=1, max_length=300)] | None = None
    since: Time | None = None
    until: Time | None = None


class PreviewQuery(_Query):
    """Which lead's mail; a made-up one without."""

    lead_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None


class EraseQuery(_Query):
    """Why; it is stored for good, so it must not name the person."""

    reason: Annotated[str, StringConstraints(max_length=300), AfterValidator(single_line)] = ""


class NotificationPreviewQuery(PreviewQuery):
    """And how it is written."""

    format: MailFormat = MailFormat.HTML


class RedriveQuery(_Query):
    """Why, and which partition's letter where several have one with this id."""

    reason: Annotated[str, StringConstraints(max_length=300), AfterValidator(single_line)] = ""
    partition: Annotated[int, BeforeValidator(_number), Field(ge=0, le=1023)] | None = None


class SeriesQuery(_Query):
    """Which points of time."""

    bucket: Bucket = Bucket.HOUR
    since: Time | None = None
    until: Time | None = None


def read_query(request: Request[Any, Any, Any], model: type[Query]) -> Query:
    """Returns the parameters as `model`; 400 otherwise."""
    text = request.scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise bad_parameters([field_error(["query"], "has too many parameters")]) from None
    values = dict(pairs)
    if len(values) != len(pairs):
        repeated = sorted({name for name, _ in pairs if [pair[0] for pair in pairs].count(name) > 1})
        raise bad_parameters([field_error([name], "is given more than once") for name in repeated])
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise bad_parameters(field_errors(error)) from None
