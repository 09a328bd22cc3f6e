"""Answers in JSON, encoded in one place: times as RFC 3339, enums as their values, models as they are documented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Response
from litestar.types import Receive, Scope, Send
from pydantic import BaseModel


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise NotImplementedError(type(value).__name__)


encode = msgspec.json.Encoder(enc_hook=_plain).encode


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """Returns `value` (dataclasses, models, built-in types) as `application/json`."""
    return Response(
        encode(value), status_code=status, media_type="application/json", headers=dict(headers) if headers else None
    )


class Ready:
    """An answer in JSON whose bytes are there: Litestar's `Response` builds its headers twice over."""

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        self._status, self._headers, self._body = status, headers, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it (ASGI)."""
        length = str(len(self._body)).encode()
        headers = [*self._headers, (b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
