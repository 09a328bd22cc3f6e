"""Headers of a request as ASGI has them; Litestar's `request.headers` copies all of them to find one."""

from __future__ import annotations

from litestar.types import Scope


def values(scope: Scope, name: bytes) -> list[str]:
    """The values of a header, one per line that was sent; `name` in lower case."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def only(scope: Scope, name: bytes) -> str | None:
    """The value of a header that has one; several contradicting lines are joined and so match nothing."""
    return ", ".join(values(scope, name)) or None
