"""How far a stream may be trimmed: never into what a group has not finished, nor what a mail or letter still needs.

A lead's entry is needed until its mails have ended, and for as long as a dead letter could be redriven.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from leadstream_cli.queries import Stream, count_to
from leadstream_events import keys
from leadstream_events.entry_ids import entry_order as order

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client

TRIMMED = (keys.LEADS, keys.EMAILS, keys.OUTCOMES)


@dataclass(frozen=True, slots=True)
class Trim:
    """What would go: `count` entries below `before`. `blocked_by` is empty when that is all that was asked for."""

    stream: str
    partition: int
    entries: int
    count: int
    before: str
    asked: str
    blocked_by: str


async def plan_trim(client: Client, stream: Stream, asked: str) -> Trim:
    """What may go of a stream (of one partition) below the entry id `asked`."""
    from leadstream_events.groups import working_on
    from leadstream_events.retention import floors

    assert stream.partition is not None  # noqa: S101  -- only partitions are trimmed
    found = [each async for each in floors(client, stream.partition, stream.stream, working_on(stream.stream))]
    lowest = min(found, key=lambda floor: order(floor.entry), default=None)
    blocked = lowest is not None and order(lowest.entry) < order(asked)
    before = lowest.entry if lowest and blocked else asked
    count = await count_to(client, stream.key, before) if order(before) > (0, 0) else 0
    return Trim(
        stream.stream, stream.partition, stream.length, count, before, asked,
        lowest.blocked_by if lowest and blocked else "",
    )  # fmt: skip
