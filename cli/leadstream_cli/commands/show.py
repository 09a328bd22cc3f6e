"""`show`: one stored entry, whole."""

from __future__ import annotations

import asyncio
import json
import re

import rich_click as click

from leadstream_cli.archiving import history
from leadstream_cli.commands.tail import STREAM_NAMES
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.output import Output, emit_json, output_options, printable, stamp
from leadstream_cli.queries import places, short_name
from leadstream_cli.raw_entry import RawEntry, raw_entry
from leadstream_cli.revealing import reveal
from leadstream_events.errors import NotFound

_ENTRY = re.compile(r"(?:(?P<partition>[0-9]{1,4})/)?(?P<stream>[a-z]+)/(?P<id>[0-9]{1,20}(?:-[0-9]{1,20})?)")


@click.command()
@click.argument("entry")
@output_options
def show(entry: str, out: Output) -> None:
    """Show one entry, such as leads/1767225600000-0; a partition may stand before it: 3/leads/1767225600000-0."""
    print_entry(find_entry(entry), out)


def find_entry(entry: str) -> RawEntry:
    """The entry at `[partition/]stream/id`; `NotFound` when there is none."""
    match = _ENTRY.fullmatch(entry)
    if not match or match["stream"] not in STREAM_NAMES:
        raise click.BadParameter(
            f"must be stream/id, such as leads/1767225600000-0, with one of {', '.join(STREAM_NAMES)}",
            param_hint="ENTRY",
        )
    found = asyncio.run(_find(match["stream"], match["id"], match["partition"]))
    if found is None:
        raise NotFound(f"no entry {entry}: it never was, or was trimmed")
    return found


def print_entry(found: RawEntry, out: Output) -> None:
    """Prints an entry whole."""
    row = out.clean(found.row())
    if out.as_json:
        emit_json(row)
        return
    click.echo(f"{found.place}  stored {stamp(found.stored_ms)}")
    for name, value in row.items():
        if name not in ("stream", "partition", "entry", "data"):
            click.echo(f"{name:<8}  {printable(str(value))}")
    for line in json.dumps(row["data"], ensure_ascii=False, indent=2).splitlines():
        click.echo(printable(line))


async def _find(stream: str, entry_id: str, partition: str | None) -> RawEntry | None:
    async with redis_client() as client:
        for key, number in places(await stored_partitions(client)):
            if short_name(key) != stream or (partition is not None and number != int(partition)):
                continue
            found = await history(client).entry_of(key, entry_id)
            if found:
                return (await reveal(client, [raw_entry(key, number, *found)]))[0]
    return None
