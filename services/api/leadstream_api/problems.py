"""Every error answer: RFC 9457 `application/problem+json` with one entry per wrong field.

An answer says what is wrong, where and how to mend it; it never repeats a value that was sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from pydantic import ValidationError

from leadstream_api import limits
from leadstream_events import logs
from leadstream_events.errors import ArchiveUnavailable, Backpressure, Conflict, NotFound
from leadstream_events.redis_client import classify

MEDIA_TYPE = "application/problem+json"
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|“[^”]*”")
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: dotted for people, as a JSON Pointer (RFC 6901) for programs; "" is the whole body."""

    field: str
    pointer: str
    message: str


class Problem(Exception):
    """An answer that is an error. `kind` is the last part of its type URN."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The members of the problem document."""
        out: dict[str, Any] = {
            "type": f"urn:leadstream:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return out | ({"errors": [msgspec.to_builtins(error) for error in self.errors]} if self.errors else {})

    def response(self) -> Response[bytes]:
        """The HTTP answer."""
        return Response(
            msgspec.json.encode(self.body()), status_code=self.status, media_type=MEDIA_TYPE, headers=self.headers
        )


def field_error(path: Iterable[str | int], message: str) -> FieldError:
    """Returns the entry for the field at `path`."""
    parts = [str(part)[:80] for part in path]
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
    return FieldError(".".join(parts), pointer, message)


def _message(error: Mapping[str, Any]) -> str:
    """pydantic's text without its prefix, and without quotes of what was sent."""
    text = str(error["msg"]).removeprefix("Value error, ").replace("Tuple should", "List should")
    return _QUOTED.sub("…", text) if error["type"] == "value_error" else text


def field_errors(error: ValidationError) -> list[FieldError]:
    """Returns one entry per wrong field, in the order of the model."""
    found: dict[tuple[str | int, ...], str] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        path = tuple(item["loc"])
        if path[:1] == ("metadata",) and len(path) > 2:  # behind it stand the types of the union, not fields
            found.setdefault(path[:2], "must be a text, a finite number, true, false or null")
        else:
            found.setdefault(path, _message(item))
    return [field_error(path, message) for path, message in found.items()]


def from_validation(error: ValidationError) -> Problem:
    """An unreadable body is 400; a readable one with wrong fields is 422."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return unreadable(f"The body is not valid JSON: {first['ctx']['error']}")
    return invalid(field_errors(error))


def unreadable(detail: str) -> Problem:
    """400: the bytes cannot be read as what they claim to be."""
    return Problem(400, "unreadable-body", detail)


def invalid(errors: Sequence[FieldError]) -> Problem:
    """422: readable, but fields are wrong."""
    return Problem(422, "invalid-fields", _named(errors), errors=errors)


def bad_parameters(errors: Sequence[FieldError]) -> Problem:
    """400: a query parameter or a header is wrong."""
    return Problem(400, "bad-parameter", _named(errors), errors=errors)


def _named(errors: Sequence[FieldError]) -> str:
    names = ", ".join(error.field or "the body" for error in errors[:5])
    return f"Not valid: {names}" + (", …" if len(errors) > 5 else "")


def unavailable(cause: Backpressure) -> Problem:
    """503: Redis cannot take work now; says why and when to try again."""
    detail = f"Redis cannot take work now: {cause.cause.value}" + (f" ({cause.detail})" if cause.detail else "")
    return Problem(503, "redis-unavailable", detail, headers={"Retry-After": str(limits.RETRY_AFTER_S)})


def _from_framework(error: HTTPException) -> Problem:
    """Routing errors of Litestar: 404, 405, a bad Host header."""
    try:
        phrase = HTTPStatus(error.status_code).phrase
    except ValueError:
        return _unexpected(error)
    if error.status_code >= 500:
        return _unexpected(error)
    headers = {str(name): str(value) for name, value in (error.headers or {}).items()}
    kind = phrase.lower().replace(" ", "-")
    if error.status_code == 405:
        allowed = headers.get("allow", "")
        return Problem(405, kind, f"This resource answers to {allowed} only", headers={"Allow": allowed})
    if error.status_code == 404:
        return Problem(404, kind, "There is no such resource")
    return Problem(error.status_code, kind, phrase)


def _unexpected(error: Exception) -> Problem:
    """The only way to a 500: a bug. The text of the error may hold personal data, so its type is logged alone."""
    _log.error("unexpected error", error=type(error).__name__, where=_where(error))
    return Problem(500, "unexpected", "An unexpected error; it was logged")


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace else "unknown"


def problem_of(error: Exception) -> Problem:
    """Classifies any error into its answer."""
    match error:
        case Problem():
            return error
        case ValidationError():
            return from_validation(error)
        case Conflict():
            return Problem(409, "conflict", str(error))
        case NotFound():
            return Problem(404, "not-found", "There is no such resource")
        case ArchiveUnavailable():
            _log.error("the archive cannot be read", error=str(error))
            detail = "What was archived cannot be read now; `leadstream archive verify` says more"
            return Problem(503, "archive-unavailable", detail, headers={"Retry-After": str(limits.RETRY_AFTER_S)})
        case HTTPException():
            return _from_framework(error)
    cause = classify(error)
    return unavailable(cause) if cause else _unexpected(error)


def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's exception handler: every error leaves as problem+json."""
    return problem_of(error).response()
