"""`/schema`: the OpenAPI 3.1 document. A test holds its paths and the app's routes together."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import HttpMethod, Response
from litestar.handlers import HTTPRouteHandler

from leadstream_api.access import open_to_all
from leadstream_api.access.state import access_of
from leadstream_api.openapi_access import NOTE, SECURITY_SCHEMES, with_access
from leadstream_api.openapi_mending import mending_paths
from leadstream_api.openapi_paths import build_paths
from leadstream_api.openapi_public import public_paths
from leadstream_api.openapi_schemas import build_schemas
from leadstream_api.queries import Nothing, read_query
from leadstream_api.routing import Answer, Incoming


def document(*, keys: bool = False) -> dict[str, Any]:
    """Returns the document; `keys`: the API asks for keys."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "leadstream",
            "version": version("leadstream"),
            "description": f"Leads in over HTTP, individual mails out, exact counters. Errors are RFC 9457. {NOTE}",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": with_access(build_paths() | mending_paths() | public_paths(), keys=keys),
        "components": {"schemas": build_schemas(), "securitySchemes": SECURITY_SCHEMES},
    }


@cache
def _encoded(keys: bool) -> bytes:
    return msgspec.json.encode(document(keys=keys))


@HTTPRouteHandler(
    ["/schema", "/schema/openapi.json"],
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    status_code=200,
    guards=[open_to_all],
)
async def get_schema(request: Incoming) -> Answer:
    """The document as JSON."""
    read_query(request, Nothing)
    return Response(_encoded(access_of(request).keys is not None), media_type="application/json")
