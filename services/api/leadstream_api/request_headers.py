"""Headers of a request as ASGI has them, read once; Litestar's `request.headers` copies all of them to find one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from litestar.types import Scope

_READ = "leadstream.headers"


def sent(scope: Scope) -> Mapping[bytes, Sequence[str]]:
    """All headers: their names in lower case, and the values of each, one per line that was sent."""
    found: dict[bytes, list[str]] | None = scope.get(_READ)  # type: ignore[assignment]
    if found is None:
        scope[_READ] = found = {}  # type: ignore[literal-required]
        for name, value in scope["headers"]:
            found.setdefault(name, []).append(value.decode("latin-1"))
    return found


def values(scope: Scope, name: bytes) -> Sequence[str]:
    """The values of a header, one per line that was sent; `name` in lower case."""
    return sent(scope).get(name, ())


def only(scope: Scope, name: bytes) -> str | None:
    """The value of a header that has one; several contradicting lines are joined and so match nothing."""
    return ", ".join(values(scope, name)) or None
