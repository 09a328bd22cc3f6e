"""How handlers are declared and called: reading ones answer to HEAD too (RFC 9110 section 9.1), guards get no copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from litestar import HttpMethod, Litestar, Request, Response
from litestar.connection import ASGIConnection
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Guard, Receive, Scope, Send

from leadstream_api.access.origins import host_name
from leadstream_api.problems import on_exception
from leadstream_api.request_headers import only

Incoming: TypeAlias = Request[Any, Any, Any]
Answer: TypeAlias = Response[bytes]


class Route(HTTPRouteHandler):
    """A handler whose guards get itself: Litestar copies it for each of them, a tenth of the time of a POST."""

    async def authorize_connection(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """Runs the guards, the app's first."""
        for guard in self.resolve_guards():
            await guard(connection, self)  # type: ignore[misc]


def read(path: str, *guards: Guard, documented: bool = True) -> Route:
    """Decorates a handler that only reads; `documented` False keeps pages out of the API's document."""
    return Route(
        path,
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        status_code=200,
        guards=guards,
        include_in_schema=documented,
    )


def post(path: str, *, guards: Sequence[Guard], status_code: int = 201, include_in_schema: bool = True) -> Route:
    """Decorates a handler that changes something."""
    return Route(
        path,
        http_method=HttpMethod.POST,
        status_code=status_code,
        guards=guards,
        include_in_schema=include_in_schema,
    )


def path_value(request: Incoming, name: str) -> str:
    """The part of the path that a template names, decoded."""
    return str(request.path_params[name])


class Straight:
    """Goes before an app's own ASGI handler and calls one handler itself: what Litestar does on the way there (router,
    wrapping of exceptions, finding arguments) is an eighth of the CPU of a POST.

    What of that this handler needs is done here. A request that is unusual in its path or Host takes the long way.
    """

    def __init__(self, app: Litestar, path: str, method: HttpMethod) -> None:
        self._long_way: ASGIApp = app.asgi_handler
        self._path, self._method = path, method.value
        self._handler = _registered(app, path, method)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        usual = scope["path"] == self._path and scope.get("method") == self._method and not scope.get("root_path")
        if not usual or host_name(only(scope, b"host") or "") is None:
            await self._long_way(scope, receive, send)
            return
        scope["path_template"] = self._path
        request: Incoming = Request(scope, receive, send)
        try:
            await self._handler.authorize_connection(request)
            answer = await self._handler.fn(request)
        except Exception as error:
            answer = on_exception(request, error).to_asgi_response(app=None, request=request)
        await answer(scope, receive, send)


def _registered(app: Litestar, path: str, method: HttpMethod) -> HTTPRouteHandler:
    """The app's own copy of a handler, which knows the app's guards."""
    route = next(route for route in app.routes if route.path == path)
    assert isinstance(route, HTTPRoute)  # noqa: S101  -- no other kind is declared here
    return route.route_handler_map[method.value][0]
