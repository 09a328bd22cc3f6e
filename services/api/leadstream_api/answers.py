"""Answers in JSON, encoded in one place: times as RFC 3339, enums as their values, models as they are documented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Response
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
