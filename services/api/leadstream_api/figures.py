"""`/stats`, `/streams` and `/dead-letters`: counters, and how the streams stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from leadstream_api.access import Scope, require
from leadstream_api.access.shown import shown
from leadstream_api.answers import json_answer
from leadstream_api.context import redis_errors, services_of
from leadstream_api.problems import bad_parameters, field_error
from leadstream_api.queries import Nothing, PageQuery, SeriesQuery, read_query
from leadstream_api.routing import Answer, Incoming, read
from leadstream_events import keys
from leadstream_events.log import Entry
from leadstream_events.schemas.events import EntryDeadLettered
from leadstream_events.subscribers import utc_now
from leadstream_events.views_paging import BadCursor, newest_first
from leadstream_events.views_stats import SubscriberStats, series, subscriber_stats, totals
from leadstream_events.views_streams import StreamView, streams_view


@dataclass(frozen=True, slots=True)
class SubscriberStatsList:
    """Counters per subscriber."""

    items: tuple[SubscriberStats, ...]


@dataclass(frozen=True, slots=True)
class StreamList:
    """Every stream."""

    items: tuple[StreamView, ...]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry that a group gave up. The entry itself is not shown: it may hold personal data."""

    id: str
    time: datetime | None
    cause: str
    detail: str
    lead_id: str | None
    stream: str | None
    entry_id: str | None
    group: str | None
    deliveries: int | None
    email_id: str | None
    subscriber_id: str | None


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """Some dead letters, newest first."""

    items: tuple[DeadLetter, ...]
    next_cursor: str | None


@read("/stats", require(Scope.READ))
async def get_stats(request: Incoming) -> Answer:
    """Totals."""
    services = services_of(request)
    read_query(request, Nothing)
    async with redis_errors(services):
        return json_answer(await totals(services.log))


@read("/stats/subscribers", require(Scope.READ))
async def get_subscriber_stats(request: Incoming) -> Answer:
    """Counters per subscriber."""
    services = services_of(request)
    read_query(request, Nothing)
    async with redis_errors(services):
        return shown(request, SubscriberStatsList(await subscriber_stats(services.log, services.subscribers)))


@read("/stats/series", require(Scope.READ))
async def get_series(request: Incoming) -> Answer:
    """Counters over time."""
    services, query = services_of(request), read_query(request, SeriesQuery)
    async with redis_errors(services):
        try:
            found = await series(services.log, query.bucket, now=utc_now(), since=query.since, until=query.until)
        except ValueError as error:
            raise bad_parameters([field_error(["since"], str(error))]) from None
    return json_answer(found)


@read("/streams", require(Scope.READ))
async def get_streams(request: Incoming) -> Answer:
    """Lengths, groups, pending entries and lag."""
    services = services_of(request)
    read_query(request, Nothing)
    async with redis_errors(services):
        return json_answer(StreamList(await streams_view(services.log, utc_now())))


@read("/dead-letters", require(Scope.READ))
async def get_dead_letters(request: Incoming) -> Answer:
    """A page of dead letters, newest first."""
    services, query = services_of(request), read_query(request, PageQuery)
    async with redis_errors(services):
        try:
            found = await newest_first(services.log, keys.DEAD, limit=query.limit, cursor=query.cursor)
        except BadCursor as error:
            raise bad_parameters([field_error(["cursor"], str(error))]) from None
    return shown(request, DeadLetterPage(tuple(map(dead_letter, found.entries)), found.cursor))


def dead_letter(entry: Entry) -> DeadLetter:
    """Returns what is shown of a dead letter; one that cannot be read itself shows its cause."""
    event = entry.event
    if event is None or not isinstance(event.data, EntryDeadLettered):
        cause = entry.problem.cause if entry.problem else "unknown_type"
        return DeadLetter(entry.entry_id, None, cause, "", None, None, None, None, None, None, None)
    data = event.data
    return DeadLetter(
        id=entry.entry_id,
        time=event.time,
        cause=data.cause,
        detail=data.detail,
        lead_id=event.subject,
        stream=data.stream,
        entry_id=data.entry_id,
        group=data.group,
        deliveries=data.deliveries,
        email_id=data.email_id,
        subscriber_id=data.subscriber_id,
    )
