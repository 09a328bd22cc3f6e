"""`tail`: entries in the order in which they were stored, over every partition; `-f` goes on with new ones."""

from __future__ import annotations

import asyncio

import rich_click as click

from leadstream_cli.archiving import older
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import say
from leadstream_cli.output import Output, output_options, stamp
from leadstream_cli.queries import places, short_name
from leadstream_cli.raw_entry import RawEntry
from leadstream_cli.tailing import SCAN, Place, Wanted, ends, follow, forward, last, parse_since, summary
from leadstream_events import keys
from leadstream_events.entry_ids import entry_order
from leadstream_events.server_time import server_ms

STREAM_NAMES = (*keys.STREAMS, keys.OPERATIONS, "subscribers")


def _fields(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = [value.partition("=") for value in values]
    if not all(name and equals for name, equals, _ in pairs):
        raise click.BadParameter("must be field=value, such as state=CA", context, parameter)
    return tuple((name, value) for name, _, value in pairs)


@click.command()
@click.argument("streams", nargs=-1, type=click.Choice(STREAM_NAMES), metavar="[STREAM]...")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with new entries until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), help="How many of the last entries.  [default: 20]")
@click.option("--since", help="A span (10m), an entry id or a time; without -n everything since then.")
@click.option("--type", "types", multiple=True, help="Only events of this type; may be repeated.")
@click.option("--where", "where", multiple=True, callback=_fields, help="Only where field=value; may be repeated.")
@output_options
def tail(
    streams: tuple[str, ...],
    following: bool,
    lines: int | None,
    since: str | None,
    types: tuple[str, ...],
    where: tuple[tuple[str, str], ...],
    out: Output,
) -> None:
    """Show the last entries of streams; without a name, of all of them.

    Streams: leads, emails, outcomes, dead, operations, subscribers.
    """
    wanted = Wanted(frozenset(name.casefold() for name in types), where)
    asyncio.run(_tail(frozenset(streams or STREAM_NAMES), following, lines, since, wanted, out))


async def _tail(
    names: frozenset[str], following: bool, lines: int | None, since: str | None, wanted: Wanted, out: Output
) -> None:
    async with redis_client() as client:
        chosen: list[Place] = [p for p in places(await stored_partitions(client)) if short_name(p[0]) in names]
        try:
            first = parse_since(since, await server_ms(client)) if since else "-"
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--since") from None
        starts = await ends(client, chosen)
        shown = dict(starts)
        if since and lines is None:
            async for entry in forward(client, chosen, first, older(client)):
                if wanted.keeps(entry):
                    _show(out, entry)
                shown[entry.key, entry.partition] = entry.entry_id
        else:
            found, cut = await last(client, chosen, 20 if lines is None else lines, wanted, first, older(client))
            if cut:
                say(f"looked at the newest {SCAN} entries only; --since narrows the search")
            for entry in found:
                _show(out, entry)
                shown[entry.key, entry.partition] = max(
                    shown[entry.key, entry.partition], entry.entry_id, key=entry_order
                )
        if following:
            async for entry in follow(client, shown):
                if wanted.keeps(entry):
                    _show(out, entry)


def _show(out: Output, entry: RawEntry) -> None:
    text = ""
    if not out.as_json:
        at, subject = stamp(entry.stored_ms), entry.fields.get("subject", "")
        text = f"{at}  {entry.place}  {entry.type}  {subject}  {summary(out.clean(entry.data, 'data'))}".rstrip()
    out.line(entry.row() if out.as_json else {}, text)
