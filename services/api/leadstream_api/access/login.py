"""`/login` and `/logout`: a browser trades an API key for a cookie.

The page is a parameter: `handlers(page)` makes the routes with anybody's page, the plain one here needs no file.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from leadstream_api.access.credentials import REALM, session_of
from leadstream_api.access.csrf import require_token
from leadstream_api.access.guards import caller_of, cross_site, open_to_all, provenance, require_rate
from leadstream_api.access.keys import Key
from leadstream_api.access.origins import local_path
from leadstream_api.access.scopes import Scope, Via
from leadstream_api.access.sessions import LIFETIME_S, new_session
from leadstream_api.access.state import Access, access_of
from leadstream_api.access.throttle import ATTEMPTS, address_of
from leadstream_api.bodies import FORM, read_body, require_type
from leadstream_api.forms import urlencoded_fields
from leadstream_api.problems import Problem
from leadstream_api.routing import Answer, Incoming, post, read
from leadstream_events import logs
from leadstream_events.subscribers import utc_now

_BODY_BYTES = 16 * 1024
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class LoginPage:
    """What a login page shows. The form posts `key` and `next` to /login; `error` is a sentence for people."""

    next: str
    error: str | None = None


Page = Callable[[LoginPage], str]


def plain_page(page: LoginPage) -> str:
    """A login page without style or script."""
    error = f'<p role="alert"><strong>{html.escape(page.error)}</strong></p>' if page.error else ""
    described = ' aria-describedby="hint"'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Log in - leadstream</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"></head>'
        f'<body><main><h1>Log in</h1>{error}<form method="post" action="/login">'
        f'<input type="hidden" name="next" value="{html.escape(page.next)}">'
        '<p><label for="key">API key</label><br>'
        f'<input id="key" name="key" type="password" autocomplete="current-password" required autofocus{described}></p>'
        '<p id="hint">A key with the scope read. Make one with: leadstream keys add NAME --scope read</p>'
        '<p><button type="submit">Log in</button></p></form></main></body></html>'
    )


def handlers(page: Page = plain_page) -> tuple[HTTPRouteHandler, ...]:
    """The routes of login and logout, all open."""

    @read("/login", open_to_all, documented=False)
    async def get_login(request: Incoming) -> Answer:
        where = local_path(request.query_params.get("next"))
        if caller_of(request).principal.via in (Via.SESSION, Via.LOOPBACK):
            return _see(where)
        return _shown(page, 200, LoginPage(where))

    @post("/login", status_code=200, guards=[open_to_all], include_in_schema=False)
    async def post_login(request: Incoming) -> Answer:
        return await _log_in(request, access_of(request), page)

    return get_login, post_login, post_logout


@post("/logout", status_code=200, guards=[open_to_all], include_in_schema=False)
async def post_logout(request: Incoming) -> Answer:
    """303 to the login; the session is over, also for a copy of its cookie."""
    access = access_of(request)
    session = session_of(access, request.scope, utc_now()) if access.keys else None
    if session is not None:
        await require_token(access, request, session)
        access.ended.end(session, utc_now())
    return _see("/login", _cookie(access, "", 0))


async def _log_in(request: Incoming, access: Access, page: Page) -> Answer:
    if access.keys is None:
        return _see("/")
    require_type(request, FORM)
    if provenance(request.scope).cross_site(access.own_origin):
        raise cross_site()
    fields = dict(urlencoded_fields(await read_body(request, _BODY_BYTES)))
    where = local_path(fields.get("next"))
    try:
        await require_rate(request, f"login:{access.signer.mac('login', address_of(request.scope))[:32]}", ATTEMPTS)
    except Problem as problem:
        error = "Too many attempts. Wait a minute and try again."
        return _shown(page, problem.status, LoginPage(where, error), problem.headers)
    key, error = _key_for_login(access, fields.get("key", "").strip())
    if key is None:
        _log.warning("a login was refused", reason=error)
        return _shown(page, 401, LoginPage(where, error), {"WWW-Authenticate": REALM})
    _log.info("a browser logged in", key=key.name)
    return _see(where, _cookie(access, access.signer.cookie(new_session(key.id, utc_now())), LIFETIME_S))


def _shown(page: Page, status: int, shown: LoginPage, more: dict[str, str] | None = None) -> Answer:
    return Response(page(shown).encode(), status_code=status, media_type="text/html", headers=more)


def _key_for_login(access: Access, secret: str) -> tuple[Key | None, str]:
    key = access.keys.current().of_secret(secret) if access.keys else None
    if key is None:
        return None, "This is no API key that is known here."
    state = key.state(utc_now())
    if state != "live":
        return None, f"This API key is {state}."
    if Scope.READ not in key.held_scopes:
        return None, "This API key may not read, so there is nothing to see with it."
    return key, ""


def _see(path: str, cookie: str | None = None) -> Answer:
    return Response(b"", status_code=303, headers={"Location": path} | ({"Set-Cookie": cookie} if cookie else {}))


def _cookie(access: Access, value: str, lifetime_s: int) -> str:
    flags = "; Secure" if access.secure else ""
    return f"{access.cookie_name}={value}; Path=/; Max-Age={lifetime_s}; HttpOnly; SameSite=Lax{flags}"
