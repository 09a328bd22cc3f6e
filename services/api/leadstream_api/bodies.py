"""Reads request bodies within limits and never trusts a content type that was not asked for.

Nothing is parsed before its size and its type are known. A body over the limit is not read to its end: the
connection is closed after the answer.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from litestar import Request
from pydantic import BaseModel

from leadstream_api import limits
from leadstream_api.problems import Problem, unreadable
from leadstream_api.request_headers import only

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
NDJSON = ("application/x-ndjson", "application/jsonl")

Model = TypeVar("Model", bound=BaseModel)


def parse_content_type(value: str) -> tuple[str, dict[str, str]]:
    """Returns media type and parameters (RFC 9110 section 8.3.1), the names in lower case."""
    media, _, rest = value.partition(";")
    parameters = {}
    for part in rest.split(";"):
        name, _, item = part.partition("=")
        if name.strip():
            parameters[name.strip().lower()] = item.strip().strip('"')
    return media.strip().lower(), parameters


def is_json(media: str) -> bool:
    """True for `application/json` and for the structured suffix `+json` (RFC 6839)."""
    return media == JSON or (media.startswith("application/") and media.endswith("+json"))


def require_type(request: Request[Any, Any, Any], *accepted: str) -> tuple[str, dict[str, str]]:
    """Returns the media type if it is one of `accepted` (`application/json` stands for all JSON); else 415.

    A body without a type is refused too: a web page may send one anywhere without asking (CORS simple requests).
    """
    media, parameters = parse_content_type(only(request.scope, b"content-type") or "")
    fits = media in accepted or (JSON in accepted and is_json(media))
    if not fits:
        known = ", ".join(accepted)
        raise Problem(415, "unsupported-media-type", f"Content-Type must be one of: {known}", headers=_accept(accepted))
    charset = parameters.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise Problem(415, "unsupported-charset", "The charset must be utf-8", headers=_accept(accepted))
    return media, parameters


def _accept(accepted: tuple[str, ...]) -> dict[str, str]:
    return {"Accept-Post": ", ".join(accepted)}


def _too_large(limit: int) -> Problem:
    return Problem(413, "body-too-large", f"The body is larger than {limit} bytes", headers={"Connection": "close"})


async def read_body(request: Request[Any, Any, Any], limit: int) -> bytes:
    """Returns the whole body; 413 over `limit` bytes, 408 when it does not arrive in time."""
    declared = only(request.scope, b"content-length") or ""
    if declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
        raise _too_large(limit)
    message = await _receive(request)
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    try:
        async with asyncio.timeout(limits.BODY_DEADLINE_S):
            return await _read_rest(request, body, limit)
    except TimeoutError:
        detail = f"The body did not arrive within {limits.BODY_DEADLINE_S:g} s"
        raise Problem(408, "body-too-slow", detail, headers={"Connection": "close"}) from None


async def _read_rest(request: Request[Any, Any, Any], first: bytes, limit: int) -> bytes:
    chunks, size, more = [first], len(first), True
    while more:
        if size > limit:
            raise _too_large(limit)
        message = await _receive(request)
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        more = message.get("more_body", False)
    if size > limit:
        raise _too_large(limit)
    return b"".join(chunks)


async def _receive(request: Request[Any, Any, Any]) -> dict[str, Any]:
    message: dict[str, Any] = await request.receive()  # type: ignore[assignment]
    if message["type"] == "http.disconnect":
        raise unreadable("The connection ended before the body did")
    return message


async def read_model(request: Request[Any, Any, Any], model: type[Model]) -> Model:
    """Reads a small JSON body as `model`; pydantic's ValidationError becomes 400 or 422."""
    require_type(request, JSON)
    return model.model_validate_json(await read_body(request, limits.RECORD_BYTES), strict=True)
