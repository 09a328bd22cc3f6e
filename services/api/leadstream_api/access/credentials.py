"""Who sends this request: reads the key or the cookie, and refuses what is not valid with 401 (RFC 6750)."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from urllib.parse import parse_qs

from litestar.types import Scope as AsgiScope

from leadstream_api.access.keys import Key
from leadstream_api.access.scopes import LOOPBACK, NOBODY, Principal, Via
from leadstream_api.access.sessions import Session
from leadstream_api.access.state import Access
from leadstream_api.problems import Problem
from leadstream_api.request_headers import values

REALM = 'Bearer realm="leadstream"'
QUERY_FIELD = "key"
LEADS_PATH = "/leads"


class Caller(NamedTuple):
    """A principal with what proved it: a key, and the session that named it."""

    principal: Principal
    key: Key | None = None
    session: Session | None = None


def identify(access: Access, scope: AsgiScope, now: datetime) -> Caller:
    """Returns who calls; `NOBODY` when he says nothing. A key that is sent but not valid is a 401, cookie or not."""
    if access.keys is None:
        return Caller(LOOPBACK)
    secret, in_address = _secret(scope)
    if secret is not None:
        return _by_secret(access, secret, in_address, now)
    return _by_cookie(access, scope, now) or Caller(NOBODY)


def _by_secret(access: Access, secret: str, in_address: bool, now: datetime) -> Caller:
    key = access.keys.current().of_secret(secret) if access.keys else None
    if key is None:
        raise refused("unknown-key", "This is no API key that is known here")
    state = key.state(now)
    if state != "live":
        raise refused(f"{state}-key", f"This API key is {state}; ask for a new one")
    if in_address and not key.publishable:
        detail = "A secret key must not stand in an address, which ends up in logs: send Authorization: Bearer ls_…"
        raise refused("key-in-address", detail)
    return Caller(Principal(key.name, key.held_scopes, Via.KEY, key.id), key)


def _by_cookie(access: Access, scope: AsgiScope, now: datetime) -> Caller | None:
    session = session_of(access, scope, now)
    if session is None or access.keys is None:
        return None
    key = access.keys.current().of_id(session.key_id)
    if key is None or key.state(now) != "live":
        return None
    return Caller(Principal(key.name, key.held_scopes, Via.SESSION, key.id), key, session)


def session_of(access: Access, scope: AsgiScope, now: datetime) -> Session | None:
    """The session of the cookie, if its signature is ours and it is not over; its key may be dead all the same."""
    for line in values(scope, b"cookie"):
        for pair in line.split(";"):  # by hand: http.cookies stops at the first cookie of others that it dislikes
            name, _, value = pair.strip().partition("=")
            session = access.signer.read(value, now) if name == access.cookie_name else None
            if session is not None and not access.ended.has(session):
                return session
    return None


def _secret(scope: AsgiScope) -> tuple[str | None, bool]:
    """The key that was sent, and whether it stood in the address. Other schemes than Bearer are a proxy's affair."""
    found = set(values(scope, b"x-api-key"))
    for value in values(scope, b"authorization"):
        scheme, _, rest = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            found.add(rest.strip())
    if len(found) > 1:
        raise refused("several-keys", "Several different API keys were sent; send one")
    if found:
        return found.pop(), False
    if takes_lead_in(scope) and scope["query_string"]:
        given = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if QUERY_FIELD in given:
            return given[QUERY_FIELD][-1], True
    return None, False


def takes_lead_in(scope: AsgiScope) -> bool:
    """True for `POST /leads`, however its path is spelled: by its route."""
    return scope.get("method") == "POST" and scope.get("path_template") == LEADS_PATH


def refused(kind: str, detail: str) -> Problem:
    """401 for a key that is not valid."""
    return Problem(401, kind, detail, headers={"WWW-Authenticate": f'{REALM}, error="invalid_token"'})


def key_wanted() -> Problem:
    """401 for a request without a key."""
    detail = "This needs an API key: send Authorization: Bearer ls_… or X-API-Key"
    return Problem(401, "key-wanted", detail, headers={"WWW-Authenticate": REALM})
