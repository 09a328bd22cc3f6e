"""Imports uvicorn and Litestar without what only their command lines and schemas need: 2 MB."""

from __future__ import annotations

from types import ModuleType

from leadstream_events.lean_imports import standing_in

_main = ModuleType("uvicorn.main")
_main.__dict__.update(Server=None, main=None, run=None)  # what uvicorn takes from it

with standing_in({"uvicorn.main": _main, "yaml": ModuleType("yaml")}):
    import litestar
    import uvicorn

__all__ = ["litestar", "uvicorn"]
