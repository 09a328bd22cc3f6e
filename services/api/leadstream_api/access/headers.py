"""Headers that every answer carries, unless its handler set its own: what a browser may do with it.

`Referrer-Policy: same-origin` and not `no-referrer`: under the latter browsers send `Origin: null` with our own forms
(Fetch standard, "append a request Origin header"), which then look like another site's.
"""

from __future__ import annotations

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
Headers = list[tuple[bytes, bytes]]
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_ALWAYS = {
    b"cache-control": b"no-store",
    b"cross-origin-resource-policy": b"same-origin",
}
_OF_PAGES = _ALWAYS | {
    b"content-security-policy": CSP.encode(),
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}
_CROSS_ORIGIN = {
    b"access-control-expose-headers": b"Location, Idempotent-Replayed, Retry-After",
    b"cross-origin-resource-policy": b"cross-origin",
}
PREFLIGHT = {
    b"access-control-allow-methods": b"POST",
    b"access-control-allow-headers": b"Authorization, X-API-Key, Content-Type, Idempotency-Key, traceparent",
    b"access-control-max-age": b"600",
}


def with_security(headers: Headers) -> Headers:
    """Returns the headers with those that are missing."""
    present = {name.lower(): value for name, value in headers}
    wanted = _OF_PAGES if present.get(b"content-type", b"").startswith(b"text/html") else _ALWAYS
    return [*headers, *[item for item in wanted.items() if item[0] not in present], _NO_SNIFFING]


def with_cors(headers: Headers, origin: bytes | None) -> Headers:
    """Returns the headers of an answer to `POST /leads`: readable for pages of `origin` (Fetch standard, CORS)."""
    out = [*headers, (b"vary", b"Origin")]
    if origin is None:
        return out
    return [*out, (b"access-control-allow-origin", origin), *_CROSS_ORIGIN.items()]
