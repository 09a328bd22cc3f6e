"""Cross-site request forgery: what changes something under a cookie must bring the session's token (OWASP, HMAC-based).

The token stands in the header `X-CSRF-Token` or in the form field `csrf_token`. Reading the field takes the body; the
handler then reads the same body again.
"""

from __future__ import annotations

import multipart  # type: ignore[import-untyped]
from litestar import Request
from litestar.types import HTTPReceiveMessage

from leadstream_api.access.sessions import Session
from leadstream_api.access.state import Access, Connection
from leadstream_api.bodies import FORM, MULTIPART, parse_content_type, read_body
from leadstream_api.forms import urlencoded_fields
from leadstream_api.problems import Problem
from leadstream_api.request_headers import values

HEADER = "X-CSRF-Token"
FIELD = "csrf_token"
MOST_BYTES = 8 * 1024 * 1024  # of a form under a session: an import of subscribers is the largest


async def require_token(access: Access, connection: Connection, session: Session) -> None:
    """403 unless the request brings the token of this session."""
    token = await _sent_token(connection)
    if token is None:
        raise Problem(403, "csrf", f"A change under a session needs {HEADER}, or the form field {FIELD}")
    if not access.signer.is_csrf_token(session, token):
        raise Problem(403, "csrf", f"{HEADER} or {FIELD} does not belong to this session; load the page again")


async def _sent_token(connection: Connection) -> str | None:
    sent = values(connection.scope, b"x-csrf-token")
    if sent:
        return sent[0]
    media, parameters = parse_content_type(connection.headers.get("content-type", ""))
    if media not in (FORM, MULTIPART) or not isinstance(connection, Request):
        return None
    body = await read_body(connection, MOST_BYTES)
    _offer_again(connection, body)
    if media == FORM:
        return dict(urlencoded_fields(body)).get(FIELD)
    return _multipart_field(body, parameters.get("boundary", ""))


def _offer_again(request: Request, body: bytes) -> None:  # type: ignore[type-arg]
    """The handler gets the body as one message, then what the connection really says."""
    rest = request.receive
    offered = False

    async def receive() -> HTTPReceiveMessage:
        nonlocal offered
        if offered:
            return await rest()  # type: ignore[return-value]
        offered = True
        return {"type": "http.request", "body": body, "more_body": False}

    request.receive = receive


def _multipart_field(body: bytes, boundary: str) -> str | None:
    """The value of the token's field; a body that is not well formed has none, and the handler says what is wrong."""
    inside, chunks = False, bytearray()
    try:
        with multipart.PushMultipartParser(boundary) as parser:
            for event in [*parser.parse(body), *parser.parse(b"")]:
                if isinstance(event, multipart.MultipartSegment):
                    inside = event.name == FIELD and event.filename is None
                elif event is None and inside:
                    return chunks.decode()
                elif inside:
                    chunks += event
    except (multipart.MultipartError, ValueError, LookupError):
        return None
    return None
