"""`pending`: what was handed to a worker, or waits for its next attempt, and is not finished."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import rich_click as click

from leadstream_cli.commands.streams import require_group
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import say
from leadstream_cli.output import Column, Output, age, output_options, stamp
from leadstream_cli.pending_query import read_pending
from leadstream_cli.queries import read_streams
from leadstream_events.server_time import server_ms

_COLUMNS = (
    Column("group", "GROUP"),
    Column("place", "ENTRY"),
    Column("type", "TYPE"),
    Column("lead_id", "LEAD"),
    Column("attempts", "ATTEMPTS", right=True),
    Column("deliveries", "DELIVERIES", right=True),
    Column("owner", "OWNER"),
    Column("age_s", "AGE", age, right=True),
    Column("idle_s", "IDLE", age, right=True),
    Column("next_attempt_in_s", "NEXT IN", age, right=True),
    Column("last_error", "LAST ERROR"),
)


@click.command()
@click.argument("group", required=False)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most that many.")
@output_options
def pending(group: str | None, limit: int, out: Output) -> None:
    """Show entries that a GROUP has not finished: attempts, owner, next attempt, last error.

    GROUP is one of `leadstream groups`, or `projections` for all of theirs; without it, every group.
    """
    rows, total = asyncio.run(_read(group, limit))
    out.table(rows, _COLUMNS, f"nothing is pending{f' in group {group}' if group else ''}")
    if total > len(rows):
        say(f"{total} are pending; these are the first {len(rows)}: -n shows more")


async def _read(group: str | None, limit: int) -> tuple[list[dict[str, Any]], int]:
    async with redis_client() as client:
        found = await read_streams(client, await stored_partitions(client))
        if group is not None:
            await require_group(found, group)
        now_ms = await server_ms(client)
        items, total = await read_pending(client, found, group, limit, now_ms)
    rows = []
    for item in items:
        row = asdict(item) | {"place": f"{item.stream}/{item.entry}", "next_attempt_at": stamp(item.next_attempt_ms)}
        due = item.next_attempt_ms
        row["next_attempt_in_s"] = None if due is None else max(0, due - now_ms) / 1000
        rows.append(row)
    return rows, total
