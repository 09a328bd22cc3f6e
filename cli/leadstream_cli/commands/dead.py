"""`dead`: what was given up, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import rich_click as click

from leadstream_cli.commands.show import find_entry, print_entry
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import say
from leadstream_cli.output import Column, Output, output_options, stamp
from leadstream_cli.queries import places, short_name
from leadstream_cli.raw_entry import RawEntry
from leadstream_cli.tailing import Wanted, last
from leadstream_events import keys

SCAN = 10_000
_DATA = ("cause", "group", "subscriber_id", "email_id", "detail", "deliveries")
_BY: dict[str, Callable[[RawEntry], str]] = {
    "cause": lambda entry: str(_data(entry, "cause")),
    "group": lambda entry: str(_data(entry, "group")),
    "lead": lambda entry: entry.fields.get("subject") or "-",
    "subscriber": lambda entry: str(_data(entry, "subscriber_id") or "-"),
}


def _data(entry: RawEntry, name: str) -> Any:
    return entry.data.get(name) if isinstance(entry.data, dict) else None


@click.group()
def dead() -> None:
    """Show dead letters."""


@dead.command("list")
@click.option("--by", type=click.Choice((*_BY, "none")), default="cause", show_default=True, help="How to group them.")
@output_options
def list_(by: str, out: Output) -> None:
    """Show dead letters, counted by cause, group, lead or subscriber; `--by none` lists them one by one."""
    entries, total = asyncio.run(_read())
    if total > len(entries):
        say(f"there are {total}; these are the newest {len(entries)}")
    if by == "none":
        rows = [_row(entry) for entry in entries]
        names = ("entry", "time", "cause", "group", "of", "lead_id", "subscriber_id", "detail")
        out.table(rows, [Column(name, name.upper()) for name in names], "no dead letters")
        return
    counts: dict[str, list[RawEntry]] = {}
    for entry in entries:
        counts.setdefault(_BY[by](entry), []).append(entry)
    grouped = [
        {by: key, "count": len(found), "oldest": stamp(found[0].stored_ms), "newest": stamp(found[-1].stored_ms)}
        | {"example": found[-1].place}
        for key, found in sorted(counts.items(), key=lambda pair: -len(pair[1]))
    ]
    columns = [
        Column(name, name.upper(), right=name == "count") for name in (by, "count", "oldest", "newest", "example")
    ]
    out.table(grouped, columns, "no dead letters")


def _row(entry: RawEntry) -> dict[str, Any]:
    return {
        "entry": entry.place,
        "time": stamp(entry.stored_ms),
        "lead_id": entry.fields.get("subject"),
        "of": f"{_data(entry, 'stream')}/{_data(entry, 'entry_id')}",
        **{
            name: _data(entry, name) for name in ("cause", "group", "subscriber_id", "email_id", "detail", "deliveries")
        },
    }


async def _read() -> tuple[list[RawEntry], int]:
    async with redis_client() as client:
        chosen = [p for p in places(await stored_partitions(client)) if short_name(p[0]) == keys.DEAD]
        total = sum([int(await client.xlen(key)) for key, _ in chosen])
        entries, _ = await last(client, chosen, SCAN, Wanted())
        return entries, total


@dead.command()
@click.argument("entry")
@output_options
def show(entry: str, out: Output) -> None:
    """Show one dead letter whole, with the entry that was given up: an id, or dead/ID."""
    print_entry(find_entry(entry if "/" in entry else f"dead/{entry}"), out)
