"""Before any route: keeps strangers out while there are no keys, answers preflights, dresses and counts answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from leadstream_api.access import headers as answer_headers
from leadstream_api.access.credentials import LEADS_PATH
from leadstream_api.access.origins import (
    PROXY_HEADERS,
    host_name,
    is_loopback_name,
    is_loopback_origin,
    origin_of,
)
from leadstream_api.access.state import Access
from leadstream_api.problems import MEDIA_TYPE, Problem
from leadstream_api.request_headers import only, sent
from leadstream_events.subscribers import utc_now

_MEND = "set LEADSTREAM_API_KEYS_FILE to let others in"


class Door:
    """Wraps the app's ASGI handler. `responded` gets method, template of the path and status of each answer."""

    def __init__(self, app: ASGIApp, access: Access, responded: Callable[[str, str, int], None]) -> None:
        self._app, self._access, self._responded = app, access, responded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        method = scope.get("method")
        takes_lead_in = scope["path"].rstrip("/") == LEADS_PATH
        origin = self._reader(scope) if takes_lead_in else None
        preflight = takes_lead_in and _is_preflight(scope)
        concerned = takes_lead_in and (preflight or method == "POST")

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message["headers"])
                if concerned:
                    given = answer_headers.with_cors(given, origin)
                message["headers"] = answer_headers.with_security(given)
                route = scope.get("path_template") or "unmatched"
                self._responded(str(method or ""), str(route), message["status"])
            await send(message)

        refusal = stranger(scope) if self._access.keys is None else None
        if refusal is not None:
            body = msgspec.json.encode(refusal.body())
            await _answer(dressed, refusal.status, body, [(b"content-type", MEDIA_TYPE.encode())])
        elif preflight and origin is not None:
            await _answer(dressed, 204, b"", list(answer_headers.PREFLIGHT.items()))
        else:
            await self._app(scope, receive, dressed)

    def _reader(self, scope: Scope) -> bytes | None:
        """The origin whose pages may read the answer; None for all others."""
        origin = only(scope, b"origin")
        found = origin_of(origin) if origin else None
        if found is None or found != origin:
            return None
        keys = self._access.keys
        allowed = is_loopback_origin(found) if keys is None else keys.current().publishes_to(found, utc_now())
        return found.encode() if allowed else None


def _is_preflight(scope: Scope) -> bool:
    return scope.get("method") == "OPTIONS" and only(scope, b"access-control-request-method") == "POST"


def stranger(scope: Scope) -> Problem | None:
    """Without keys: why this request cannot be trusted to come from this machine and be meant for it; else None."""
    if not PROXY_HEADERS.isdisjoint(sent(scope)):
        return Problem(403, "keys-wanted", f"Without API keys nothing that came through a proxy is taken; {_MEND}")
    client = scope.get("client")
    if client is not None and not _is_loopback_address(client[0]):
        return Problem(403, "keys-wanted", f"Without API keys this machine alone is served; {_MEND}")
    name = host_name(only(scope, b"host") or "")
    if name is None or not is_loopback_name(name):
        detail = f"Without API keys the Host header must be localhost or a loopback address; {_MEND}"
        return Problem(421, "host", detail)
    return None


@lru_cache(maxsize=1024)
def _is_loopback_address(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return text in ("", "localhost")  # a unix socket
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


async def _answer(send: Any, status: int, body: bytes, headers: answer_headers.Headers) -> None:
    more = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
    await send(cast(Message, {"type": "http.response.start", "status": status, "headers": [*headers, *more]}))
    await send(cast(Message, {"type": "http.response.body", "body": body, "more_body": False}))
