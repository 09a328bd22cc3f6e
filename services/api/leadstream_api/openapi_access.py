"""Who may call what, in the OpenAPI document: security schemes, the scope of each operation, and the refusals.

A test holds the scopes here and the guards of the routes together.
"""

from __future__ import annotations

from typing import Any

from leadstream_api.access.credentials import QUERY_FIELD
from leadstream_api.access.csrf import HEADER
from leadstream_api.access.scopes import Scope
from leadstream_api.problems import MEDIA_TYPE

Json = dict[str, Any]

INGEST = frozenset(("submitLead", "submitBatch"))
WEBHOOKS = ("postSes", "postSendgrid", "postMailgun", "postPostmark")
OPEN = frozenset(("getLive", "getReady", "getSchema", "getSchemaFile", "getUnsubscribe", "postUnsubscribe", *WEBHOOKS))
NOTE = (
    "With API keys every call but health, this document, links in mails and webhooks needs one; `admin` holds all "
    "scopes, `read:pii` holds `read`. Without `read:pii` personal data is masked. Without API keys this machine alone "
    "is served: another Host is a 421, a proxy or a page of another site a 403."
)

SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer ls_...`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same in another header"},
    "publishable": {
        "type": "apiKey",
        "in": "query",
        "name": QUERY_FIELD,
        "description": "A publishable key (`ls_pub_...`) in the action of a web form, from its origins only",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "leadstream_session",
        "description": (
            f"What the login page sets (`__Host-leadstream_session` under https). Changes need `{HEADER}` as well."
        ),
    },
}
_CHALLENGE = {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "RFC 6750"}}
_RETRY = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds"}}
_REFUSALS: dict[str, tuple[str, Json]] = {
    "401": ("No API key, or one that is unknown, expired or revoked", _CHALLENGE),
    "403": ("The API key has not the scope, or another site's page sent the request", {}),
    "429": ("The limit of the API key; try again after `Retry-After` seconds", _RETRY),
}


def scope_of(operation_id: str, method: str) -> Scope | None:
    """The scope that an operation needs; None when it is open."""
    if operation_id in OPEN:
        return None
    if operation_id in INGEST:
        return Scope.INGEST
    return Scope.READ if method.upper() == "GET" else Scope.ADMIN


def with_access(paths: Json, *, keys: bool) -> Json:
    """Returns the paths with scopes and refusals; `security` is said only where keys are asked for."""
    return {
        path: {method: _with_access(operation, method, keys) for method, operation in item.items()}
        for path, item in paths.items()
    }


def _with_access(operation: Json, method: str, keys: bool) -> Json:
    scope = scope_of(operation["operationId"], method)
    if scope is None:
        return operation
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    refusals: Json = {
        status: {"description": text, "content": problem} | ({"headers": headers} if headers else {})
        for status, (text, headers) in _REFUSALS.items()
    }
    text = f"{operation.get('description', '')} Scope: `{scope}`.".strip()
    out = operation | {"description": text, "responses": operation["responses"] | refusals}
    if keys:
        ways = ["bearer", "header", "session", *(["publishable"] if operation["operationId"] == "submitLead" else [])]
        out["security"] = [{way: []} for way in ways]
    return out
