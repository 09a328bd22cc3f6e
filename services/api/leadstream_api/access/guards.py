"""Litestar guards: every route says which scope it needs, and a route that says nothing is closed.

`require(scope)` checks key or cookie, scope, where a browser's request comes from, the CSRF token and the key's
limit, in this order and before the body is read (but for a form's token).
"""

from __future__ import annotations

import math
from urllib.parse import quote

from litestar import Response
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope as AsgiScope

from leadstream_api.access.credentials import REALM, Caller, identify, key_wanted, takes_lead_in
from leadstream_api.access.csrf import require_token
from leadstream_api.access.keys import Key
from leadstream_api.access.origins import SAFE_METHODS, Provenance, is_loopback_origin
from leadstream_api.access.scopes import NOBODY, Principal, Scope, Via
from leadstream_api.access.state import Access, Connection, access_of
from leadstream_api.context import services_of
from leadstream_api.problems import Problem
from leadstream_api.request_headers import only
from leadstream_events.limits import Rate
from leadstream_events.subscribers import utc_now

_CALLER = "leadstream.caller"


class LoginNeeded(Problem):
    """401 to programs; a browser that opens a page is led to the login."""

    def __init__(self, path: str) -> None:
        super().__init__(303, "login-needed", "Log in first")
        self.path = path

    def response(self) -> Response[bytes]:
        """303 to the login page, which leads back."""
        location = f"/login?next={quote(self.path, safe='')}"
        return Response(b"", status_code=303, headers={"Location": location})


class Require:
    """The guard of a route. `scope` None: open to all, but `current()` knows who it is."""

    def __init__(self, scope: Scope | None) -> None:
        self.scope = scope

    async def __call__(self, connection: Connection, _: BaseRouteHandler) -> None:
        """Lets the request through or raises a `Problem`: 401, 403, 413, 429."""
        if connection.scope.get("method") == "OPTIONS":  # says which methods there are, to anybody
            return
        access = access_of(connection)
        if self.scope is None:
            connection.scope[_CALLER] = _whoever(access, connection.scope)  # type: ignore[literal-required]
            return
        caller = identify(access, connection.scope, utc_now())
        connection.scope[_CALLER] = caller  # type: ignore[literal-required]
        _require_scope(connection, caller.principal, self.scope)
        await _require_intent(access, connection, caller)
        if caller.key is not None and caller.key.limit is not None:
            await require_rate(connection, f"key:{caller.key.name}", caller.key.limit)


def require(scope: Scope) -> Require:
    """The guard for routes that need this scope."""
    return Require(scope)


open_to_all = Require(None)


async def declared(connection: Connection, handler: BaseRouteHandler) -> None:
    """Closes every route that says neither which scope it needs nor that it is open; the app's own guard."""
    if connection.scope.get("method") == "OPTIONS":
        return
    if not any(isinstance(guard, Require) for guard in handler.resolve_guards()):
        raise Problem(403, "no-scope-declared", "This route says nothing about who may use it, so nobody may")


def caller_of(connection: Connection) -> Caller:
    """Who calls, as the guard found out."""
    found = connection.scope.get(_CALLER)
    return found if isinstance(found, Caller) else Caller(NOBODY)


def current(connection: Connection) -> Principal:
    """The principal of this request; `NOBODY` where an open route is called without a key."""
    return caller_of(connection).principal


def still_may(connection: Connection, scope: Scope) -> bool:
    """Asks again, for answers without an end: False once the key or the session is over, or lost the scope."""
    return _whoever(access_of(connection), connection.scope).principal.may(scope)


def csrf_token(connection: Connection) -> str:
    """What forms put into `csrf_token` and scripts into `X-CSRF-Token`; "" where there is no session to protect."""
    session = caller_of(connection).session
    return access_of(connection).signer.csrf_token(session) if session else ""


def provenance(scope: AsgiScope) -> Provenance:
    """What the browser says of where the request comes from."""
    return Provenance(only(scope, b"host") or "", only(scope, b"origin"), only(scope, b"sec-fetch-site"))


async def require_rate(connection: Connection, name: str, rate: Rate) -> None:
    """429 with Retry-After (whole seconds, rounded up) over the limit."""
    client = services_of(connection).client  # type: ignore[arg-type]
    wait_s = await access_of(connection).limiter.wait_s(client, name, rate)
    if wait_s > 0:
        seconds = max(1, math.ceil(wait_s))
        raise Problem(
            429, "too-many-requests", f"The limit is {rate}; try again later", headers={"Retry-After": str(seconds)}
        )


def _whoever(access: Access, scope: AsgiScope) -> Caller:
    try:
        return identify(access, scope, utc_now())
    except Problem:  # an open route asks for no key, so a wrong one is no fault
        return Caller(NOBODY)


def _require_scope(connection: Connection, principal: Principal, scope: Scope) -> None:
    if principal.may(scope):
        return
    if principal.via is Via.NOTHING:
        raise LoginNeeded(_target(connection)) if _opens_a_page(connection) else key_wanted()
    challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'
    raise Problem(
        403, "scope-missing", f"This API key has not the scope {scope}", headers={"WWW-Authenticate": challenge}
    )


def _opens_a_page(connection: Connection) -> bool:
    wants_html = "text/html" in connection.headers.get("accept", "")
    navigates = connection.headers.get("sec-fetch-mode", "navigate") == "navigate"
    return connection.scope.get("method") == "GET" and wants_html and navigates


def _target(connection: Connection) -> str:
    query = connection.scope["query_string"].decode("latin-1")
    return connection.scope["path"] + (f"?{query}" if query else "")


async def _require_intent(access: Access, connection: Connection, caller: Caller) -> None:
    """Nobody's browser may be made to do what its user did not mean."""
    sent = provenance(connection.scope)
    method, lead = str(connection.scope.get("method")), takes_lead_in(connection.scope)
    if caller.key is not None and caller.key.publishable:
        _require_page(caller.key, sent, lead)
    if method in SAFE_METHODS or caller.principal.via is Via.KEY:
        return  # a browser never adds a key by itself
    if sent.cross_site(access.own_origin):
        from_here = sent.origin is not None and is_loopback_origin(sent.origin)
        if not (caller.principal.via is Via.LOOPBACK and lead and from_here):
            raise cross_site()
    if caller.session is not None:
        await require_token(access, connection, caller.session)


def cross_site() -> Problem:
    """403 for what a page of another site sent."""
    return Problem(403, "cross-site", "A page of another site sent this request; only pages of this API may")


def _require_page(key: Key, sent: Provenance, lead: bool) -> None:
    if not lead:
        raise Problem(403, "publishable-key", "A publishable key opens POST /leads and nothing else")
    if sent.origin not in key.origins:
        raise Problem(403, "origin", "This publishable key is not meant for pages of this origin")
