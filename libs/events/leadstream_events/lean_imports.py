"""Imports libraries without what they import and leadstream never uses: some MB in every service.

structlog paints tracebacks with rich, which would also show local variables, and those may be somebody's data. redis-py
looks for OpenTelemetry; leadstream's traces are its own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

_PAINTERS = ("rich", "better_exceptions", "colorama", "greenlet")


def import_without(name: str, unwanted: tuple[str, ...]) -> None:
    """Imports a module as if these were not installed. Nothing happens where it, or one of these, is there already."""
    with standing_in(dict.fromkeys(unwanted)):
        importlib.import_module(name)


@contextmanager
def standing_in(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Inside the block an import of these gives what is named here, None for "not installed"; unless it is loaded."""
    put = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(put)  # type: ignore[arg-type]  # None is what makes an import fail
    try:
        yield
    finally:
        for name in put:
            del sys.modules[name]


import_without("structlog", _PAINTERS)
import_without("redis.asyncio", ("opentelemetry",))
