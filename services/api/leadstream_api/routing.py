"""How handlers are declared: reading ones answer to HEAD too (RFC 9110 section 9.1), and nothing else is shared."""

from __future__ import annotations

from typing import Any, TypeAlias

from litestar import HttpMethod, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.types import Guard

Incoming: TypeAlias = Request[Any, Any, Any]
Answer: TypeAlias = Response[bytes]


def read(path: str, *guards: Guard, documented: bool = True) -> HTTPRouteHandler:
    """Decorates a handler that only reads; `documented` False keeps pages out of the API's document."""
    return HTTPRouteHandler(
        path,
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        status_code=200,
        guards=guards,
        include_in_schema=documented,
    )


def path_value(request: Incoming, name: str) -> str:
    """The part of the path that a template names, decoded."""
    return str(request.path_params[name])
