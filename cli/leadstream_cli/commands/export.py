"""`export`: entries as CloudEvents JSON lines."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import IO

import rich_click as click

from leadstream_cli.archiving import history
from leadstream_cli.commands.tail import STREAM_NAMES
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import say
from leadstream_cli.exporting import items, label, parse_position, position_text, resume
from leadstream_cli.queries import places, short_name
from leadstream_cli.tailing import parse_since
from leadstream_events import keys
from leadstream_events.errors import ConfigurationError
from leadstream_events.server_time import server_ms

_TELL_EVERY = 1_000


@click.command()
@click.argument("file", default="-", metavar="[FILE|-]")
@click.option("--stream", "streams", multiple=True, type=click.Choice(STREAM_NAMES), help="Only this one; repeatable.")
@click.option("--type", "types", multiple=True, help="Only events of this type; may be repeated.")
@click.option("--since", help="A span (10m), an entry id or a time.")
@click.option("--until", help="The same; entries stored then are not in it.")
@click.option("--after", help="Go on after this position: what an earlier export said at its end.")
@click.option("--resume", "go_on", is_flag=True, help="Go on after what FILE holds already.")
@click.option("--pii", is_flag=True, help="With personal data. Only such a file can be imported.")
def export(
    file: str,
    streams: tuple[str, ...],
    types: tuple[str, ...],
    since: str | None,
    until: str | None,
    after: str | None,
    go_on: bool,
    pii: bool,
) -> None:
    """Write entries to FILE or stdout, one CloudEvent a line, in the order of storage.

    With --pii the lines can be imported byte for byte, sealed leads come with their keys; without, names and addresses
    are masked. At its end it says on stderr where to go on: give that to --after, or use --resume with a file.
    """
    path = None if file == "-" else Path(file)
    start = _start(path, after, go_on)
    wanted = frozenset(name.casefold().removeprefix("leadstream.") for name in types)
    names = frozenset(streams or STREAM_NAMES)
    if path is None:
        asyncio.run(_export(sys.stdout.buffer, start, names, wanted, (since, until), pii))
        return
    path.touch(mode=0o600)
    with path.open("ab") as sink:
        asyncio.run(_export(sink, start, names, wanted, (since, until), pii))


def _start(path: Path | None, after: str | None, go_on: bool) -> dict[str, str]:
    if after:
        try:
            return parse_position(after)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--after") from None
    if path is None or not path.exists() or path.stat().st_size == 0:
        return {}
    if not go_on:
        raise ConfigurationError(f"{path} exists: --resume goes on after what it holds")
    return resume(path)


async def _export(
    sink: IO[bytes],
    position: dict[str, str],
    names: frozenset[str],
    types: frozenset[str],
    span: tuple[str | None, str | None],
    pii: bool,
) -> None:
    from leadstream_cli.cloudevents import to_line
    from leadstream_cli.progress import progress
    from leadstream_cli.revealing import opened, vault_of

    async with redis_client() as client:
        # What commands did to this Redis as a whole is nothing for another one.
        all_places = [place for place in places(await stored_partitions(client)) if place[0] != keys.META_OPERATIONS]
        chosen = [place for place in all_places if short_name(place[0]) in names]
        since, until = _bounds(await server_ms(client), *span)
        total = sum([int(await client.xlen(key)) for key, _ in chosen])
        count = looked = 0
        with progress(total, "export") as step:
            vault, past = vault_of(client), history(client)
            async for key, partition, entry_id, fields, lead_key in items(past, chosen, position, since, until, vault):
                looked += 1
                if looked % _TELL_EVERY == 0:
                    step(_TELL_EVERY)
                if not types or fields.get(b"type", b"").decode(errors="replace").casefold() in types:
                    shown = fields if pii else opened(vault, fields, lead_key)
                    sink.write(to_line(key, partition, entry_id, shown, pii=pii, lead_key=lead_key) + b"\n")
                    count += 1
                position[label((key, partition))] = entry_id
        sink.flush()
    say(f"{count} events")
    if position:
        say(f"to go on: --after {position_text(position)}")


def _bounds(now_ms: int, since: str | None, until: str | None) -> tuple[str, str]:
    found = []
    for name, text in (("--since", since), ("--until", until)):
        try:
            found.append(parse_since(text, now_ms) if text else None)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=name) from None
    if found[1] in ("0", "0-0"):
        raise click.UsageError("--until is before everything")
    return found[0] or "-", f"({found[1]}" if found[1] else "+"
