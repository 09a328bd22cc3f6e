"""Every route says who may use it, and the document says the same."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from leadstream_api.access.guards import Require
from leadstream_api.access.scopes import Scope
from leadstream_api.app import create_app
from leadstream_api.openapi import document
from leadstream_api.openapi_access import scope_of
from leadstream_events.settings import Settings

OPEN = {"/health/live", "/health/ready", "/schema", "/schema/openapi.json", "/login", "/logout"}


def routes() -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    for route in create_app(Settings()).routes:
        assert isinstance(route, HTTPRoute)
        for handler in route.route_handlers:
            for method in sorted(handler.http_methods):
                if method != "OPTIONS":
                    yield route.path, str(method), handler


ROUTES = list(routes())


def scopes(handler: HTTPRouteHandler) -> list[Scope | None]:
    return [guard.scope for guard in handler.resolve_guards() if isinstance(guard, Require)]


@pytest.mark.parametrize(("path", "method", "handler"), ROUTES, ids=[f"{method} {path}" for path, method, _ in ROUTES])
def test_every_route_declares_one_scope_or_that_it_is_open(path: str, method: str, handler: HTTPRouteHandler) -> None:
    (scope,) = scopes(handler)
    if scope is None:
        assert path in OPEN or path.startswith(("/unsubscribe/", "/ui/assets/", "/webhooks/"))
    elif method not in ("GET", "HEAD"):
        assert scope in (Scope.ADMIN, Scope.INGEST), "a change needs more than read"


def test_the_document_names_the_scope_that_the_route_asks_for() -> None:
    ids = {
        (path, method.upper()): operation["operationId"]
        for path, item in document()["paths"].items()
        for method, operation in item.items()
    }
    for path, method, handler in ROUTES:
        if method != "HEAD" and handler.resolve_include_in_schema():
            plain = re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
            assert [scope_of(ids[plain, method], method)] == scopes(handler), (path, method)


def test_the_document_tells_of_keys_and_refusals_on_every_operation_that_is_not_open() -> None:
    found = document(keys=True)
    schemes = set(found["components"]["securitySchemes"])
    for path, item in found["paths"].items():
        for operation in item.values():
            is_open = path in OPEN or path.startswith(("/unsubscribe/", "/webhooks/"))
            if not path.startswith("/webhooks/"):  # providers have proofs of their own, and refusals of these too
                assert ({"401", "403", "429"} <= set(operation["responses"])) is not is_open
            assert {name for way in operation.get("security", ()) for name in way} <= schemes
            assert bool(operation.get("security")) is not is_open
