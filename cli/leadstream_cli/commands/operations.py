"""`operations`: what people did to groups, streams and dead letters: who, when and why."""

from __future__ import annotations

import asyncio
from typing import Any

import rich_click as click

from leadstream_cli.archiving import older
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.output import Column, Output, output_options, stamp
from leadstream_cli.queries import places, short_name
from leadstream_cli.raw_entry import RawEntry
from leadstream_cli.tailing import Wanted, last
from leadstream_events import keys

_COLUMNS = (
    Column("time", "TIME", lambda value: str(value)[:19] + "Z"),
    Column("partition", "PART", right=True),
    Column("event", "EVENT"),
    Column("by", "BY"),
    Column("what", "WHAT"),
    Column("reason", "WHY"),
)
_NOT_WHAT = ("by", "reason", "entries")


@click.command()
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The last so many.")
@output_options
def operations(limit: int, out: Output) -> None:
    """Show what operators did: seeks, claims, trims, imports, and commands over dead letters.

    What became of each single dead letter stands in the story of its lead (`trace`).
    """

    async def read() -> list[RawEntry]:
        async with redis_client() as client:
            chosen = [p for p in places(await stored_partitions(client)) if short_name(p[0]) == keys.OPERATIONS]
            return (await last(client, chosen, limit, Wanted(), history=older(client)))[0]

    out.table([_row(entry) for entry in asyncio.run(read())], _COLUMNS, "no operator has changed anything yet")


def _row(entry: RawEntry) -> dict[str, Any]:
    data = entry.data if isinstance(entry.data, dict) else {}
    what = " ".join(
        f"{name}={value}" for name, value in data.items() if name not in _NOT_WHAT and value not in ("", [])
    )
    return {
        "time": stamp(entry.stored_ms),
        "partition": entry.partition,
        "event": entry.type,
        "by": data.get("by"),
        "what": what,
        "reason": data.get("reason"),
        "data": data,
    }
