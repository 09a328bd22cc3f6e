"""`/ui/streams`: every stream and consumer group, and the newest entries of a stream without their data."""

from __future__ import annotations

from typing import Any

from leadstream_api.access import Scope, require
from leadstream_api.context import redis_errors, services_of
from leadstream_api.dashboard.pages import page, see
from leadstream_api.routing import Answer, Incoming, read
from leadstream_events import keys
from leadstream_events.log import Entry
from leadstream_events.subscribers import utc_now
from leadstream_events.views_flow import flow
from leadstream_events.views_limits import limit_lines
from leadstream_events.views_paging import BadCursor, newest_first
from leadstream_events.views_streams import entry_time

PAGE = 40


@read("/ui/streams", require(Scope.READ), documented=False)
async def get_streams(request: Incoming) -> Answer:
    """How every group stands; with `?stream=` its newest entries."""
    services = services_of(request)
    wanted = str(request.query_params.get("stream", ""))
    chosen = wanted if wanted in keys.STREAMS else keys.OUTCOMES
    cursor = str(request.query_params.get("cursor", "")) or None
    async with redis_errors(services):
        found = await flow(services.log, services.settings.rate_limit, utc_now())
        limits = await limit_lines(services.log.client, services.settings, utc_now())
        try:
            newest = await newest_first(services.log, chosen, limit=PAGE, cursor=cursor)
        except BadCursor:
            return see("/ui/streams", stream=chosen)
    return await page(
        request,
        "streams.html",
        here="streams",
        title="Streams",
        flow=found,
        limits=limits,
        streams=[
            (stream, [group for group in found.groups if group.stream == name])
            for name, stream in found.streams.items()
        ],
        chosen=chosen,
        names=keys.STREAMS,
        entries=[_shown(entry) for entry in newest.entries],
        cursor=newest.cursor,
        first=cursor is None,
        partitions=services.log.partitions,
    )


def _shown(entry: Entry) -> dict[str, Any]:
    event = entry.event
    return {
        "entry_id": entry.entry_id,
        "time": entry_time(entry.entry_id),
        "type": event.type if event else (entry.problem.cause if entry.problem else "unreadable"),
        "lead_id": event.subject if event else "",
        "size": sum(len(name) + len(value) for name, value in entry.fields.items()),
    }
