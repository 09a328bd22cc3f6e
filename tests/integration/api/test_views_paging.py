"""Pages are bounded in work and lead on, whatever the filter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from leadstream_events import keys
from leadstream_events.log import Entry, StreamLog
from leadstream_events.redis_client import Client, connect
from leadstream_events.views_paging import BadCursor, decode_cursor, encode_cursor, newest_first
from leadstream_events.writer import PipelinedWriter


@pytest.fixture
async def log(redis_url: str) -> AsyncIterator[StreamLog]:
    client = connect(redis_url, timeout_s=5.0)
    yield StreamLog(client, PipelinedWriter(client), partitions=2, deadline_s=1.0)
    await client.aclose()


async def _fill(raw: Client, count: int) -> list[str]:
    """Entries in turns over two partitions, oldest first."""
    ids = [f"{number}-{number % 3}" for number in range(1, count + 1)]
    for number, entry_id in enumerate(ids):
        await raw.xadd(keys.stream(number % 2, keys.DEAD), {"n": str(number)}, id=entry_id)
    return ids


async def test_a_filter_that_matches_nothing_looks_at_a_bounded_number_and_leads_on(
    log: StreamLog, raw: Client
) -> None:
    ids = await _fill(raw, 10)
    looked_at: list[str] = []

    def nothing(entry: Entry) -> bool:
        looked_at.append(entry.entry_id)
        return False

    page = await newest_first(log, keys.DEAD, limit=5, keep=nothing, scan=4)
    assert (page.entries, len(looked_at)) == ((), 4)
    rest = await newest_first(log, keys.DEAD, limit=50, cursor=page.cursor)
    assert [entry.entry_id for entry in rest.entries] == ids[5::-1]
    assert rest.cursor is None


@pytest.mark.parametrize("seen", [1, 2, 5])
async def test_entries_that_arrive_between_pages_are_not_shown_twice_nor_instead(
    log: StreamLog, raw: Client, seen: int
) -> None:
    ids = await _fill(raw, 6)
    first = await newest_first(log, keys.DEAD, limit=seen)
    for partition in range(2):
        await raw.xadd(keys.stream(partition, keys.DEAD), {"n": "new"}, id="99-0")
    second = await newest_first(log, keys.DEAD, limit=9, cursor=first.cursor)
    assert [entry.entry_id for entry in (*first.entries, *second.entries)] == ids[::-1]


async def test_an_empty_stream_is_an_empty_last_page(log: StreamLog) -> None:
    page = await newest_first(log, keys.DEAD, limit=3)
    assert (page.entries, page.cursor) == ((), None)


@pytest.mark.parametrize(
    "positions", [["+"], ["+", "+", "+"], ["0-0", "+"], ["x", "+"], ["1", "2"], [f"{2**64}-0", "+"]]
)
def test_a_cursor_of_another_deployment_is_refused(positions: list[str]) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(encode_cursor(positions), 2)
