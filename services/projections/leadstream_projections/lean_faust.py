"""Imports Faust without aiohttp, 7 MB for one name in a type: no web server and no HTTP client is ever started."""

from __future__ import annotations

from types import ModuleType

from leadstream_events.lean_imports import standing_in

_client = ModuleType("aiohttp.client")
_client.ClientSession = object  # type: ignore[attr-defined]  # all that Faust asks for

# Also to be in force where an app is made: Faust imports more then.
WITHOUT_AIOHTTP = {"aiohttp": ModuleType("aiohttp"), "aiohttp.client": _client}

with standing_in({**WITHOUT_AIOHTTP, "yaml": None}):
    import faust
    import faust.app.base  # noqa: F401
