"""`/events`: server-sent events (WHATWG HTML, section 9.2) for the dashboard.

`regions` brings new HTML for parts of the overview, `marks` tells other pages which streams have changed. Both come
from the one poller of the process; a stream costs its watcher nothing while nothing changes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import msgspec
from litestar import Response
from litestar.response import Stream

from leadstream_api.access import Scope, require
from leadstream_api.context import services_of
from leadstream_api.dashboard.live import Live
from leadstream_api.dashboard.viewer import viewer_of
from leadstream_api.problems import Problem
from leadstream_api.routing import Incoming, read

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_RETRY_MS = 2_000


def live_of(request: Incoming) -> Live:
    """The poller of this app, made when it is first asked for."""
    state = request.app.state
    if not hasattr(state, "live"):
        state.live = Live(services_of(request))
    live: Live = state.live
    return live


def message(event: str, data: object) -> bytes:
    """One event; JSON has no line breaks, so one data line is enough."""
    return b"event: " + event.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


async def stream(live: Live, *, overview: bool, pii: bool) -> AsyncGenerator[bytes, None]:
    """The events of one watcher: what changed since the last version that he got."""
    yield f"retry: {_RETRY_MS}\n\n".encode()
    parts: Mapping[str, str] = {}
    marks: Mapping[str, str] = {}
    async with aclosing(live.watch()) as versions:  # else it would only end when it is collected
        async for version in versions:
            if version is None:
                yield b": still here\n\n"
                continue
            out = b""
            if overview:
                fresh = version.parts[pii]
                changed = {name: text for name, text in fresh.items() if parts.get(name) != text}
                parts = {**parts, **fresh}
                out += message("regions", changed) if changed else b""
            if version.overview.marks and version.overview.marks != marks:
                marks = version.overview.marks
                out += message("marks", marks)
            yield out or b": \n\n"


@read("/events", require(Scope.READ), documented=False)
async def get_events(request: Incoming) -> Response[bytes] | Stream:
    """The stream; 503 when too many look already."""
    live = live_of(request)
    if live.full:
        raise Problem(503, "too-many-watchers", "Too many people look at once; reload later")
    if request.method == "HEAD":
        return Response(b"", media_type="text/event-stream", headers=_HEADERS)
    overview = request.query_params.get("view") == "overview"
    events = stream(live, overview=overview, pii=viewer_of(request).pii)
    return Stream(events, media_type="text/event-stream", headers=_HEADERS)
