"""`archive`: what is archived, whether it is sound, and its entries as CloudEvents."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.archiving import find_archive
from leadstream_cli.commands.streams import FORGOTTEN, is_forgotten, size, time_of
from leadstream_cli.commands.tail import STREAM_NAMES
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import CHECK_FAILED, say
from leadstream_cli.output import Column, Output, output_options, printable
from leadstream_cli.queries import places, read_streams, short_name
from leadstream_cli.tailing import parse_since
from leadstream_events.errors import ConfigurationError, LeadstreamError
from leadstream_events.server_time import server_ms

if TYPE_CHECKING:
    from leadstream_archive.archive import Archive


@click.group()
def archive() -> None:
    """Look at the archive, check it, and export from it. `leadstream archiver` writes it."""


def _archive() -> Archive:
    found = find_archive()
    if found is None:
        raise ConfigurationError("there is no archive: LEADSTREAM_ARCHIVE_URL is not set")
    return found


def _run(work: Any) -> Any:
    """Runs it; what is wrong with an archive is an error in one line."""
    from leadstream_archive.errors import Corrupt, Unreachable

    try:
        return asyncio.run(work)
    except Corrupt as error:
        say(f"damaged: {error}")
        raise Exit(CHECK_FAILED) from None
    except Unreachable as error:
        raise LeadstreamError(str(error)) from None


_STATUS = (
    Column("stream", "STREAM"),
    Column("partition", "PART", right=True),
    Column("archived", "ARCHIVED", right=True),
    Column("in_stream", "IN STREAM", right=True),
    Column("missing", "MISSING", right=True),
    Column("segments", "FILES", right=True),
    Column("bytes", "SIZE", size, right=True),
    Column("ratio", "RATIO", lambda value: f"{value:.1f}:1" if value else "-", right=True),
    Column("position", "UP TO", time_of),
)


@archive.command()
@output_options
def status(out: Output) -> None:
    """Show how far each stream is archived, what it takes, and what holds back trimming.

    MISSING counts entries that were once added and are neither in the archive nor in the stream. RATIO compares the
    lines with what they take compressed.
    """
    found = _archive()
    rows, groups = _run(_status(found))
    say(f"archive at {found.place}, manifest {found.manifest.number}")
    out.table(rows, _STATUS, "nothing is archived yet")
    for name in groups:
        say(f"{name}: {FORGOTTEN.format(name)}")


async def _status(found: Archive) -> tuple[list[dict[str, Any]], list[str]]:
    from leadstream_archive.history import History

    manifest = await found.refresh()
    rows = []
    async with redis_client() as client:
        partitions = await stored_partitions(client)
        history = History(client, found)
        for key, partition in places(partitions):
            part = manifest.of(key)
            length = int(await client.xlen(key))
            if not length and not part.segments:
                continue
            stored = sum(segment.bytes for segment in part.segments)
            raw = sum(segment.raw_bytes for segment in part.segments)
            rows.append({
                "stream": short_name(key), "partition": partition, "archived": part.entries, "in_stream": length,
                "missing": await history.missing_of(key), "segments": len(part.segments), "bytes": stored,
                "ratio": round(raw / stored, 2) if stored else None,
                "position": part.position if part.segments else None, "dropped": part.dropped,
            })  # fmt: skip
        streams = await read_streams(client, partitions)
    return rows, sorted({group.group for stream in streams for group in stream.groups if is_forgotten(group)})


_LIST = (
    Column("stream", "STREAM"),
    Column("partition", "PART", right=True),
    Column("entries", "ENTRIES", right=True),
    Column("bytes", "SIZE", size, right=True),
    Column("first", "FIRST", time_of),
    Column("last", "LAST", time_of),
    Column("file", "FILE"),
)


@archive.command(name="list")
@click.option("--stream", "streams", multiple=True, type=click.Choice(STREAM_NAMES), help="Only this one; repeatable.")
@output_options
def list_(streams: tuple[str, ...], out: Output) -> None:
    """List the files of the archive; `zstdcat` reads each of them."""
    from dataclasses import asdict

    from leadstream_archive.lines import place_of

    found = _archive()
    manifest = _run(found.refresh())
    rows = []
    for key, part in sorted(manifest.streams.items()):
        stream, partition = place_of(key)
        if not streams or stream in streams:
            for each in part.segments:
                row = asdict(each)
                rows.append({"stream": stream, "partition": partition, "file": row.pop("name"), **row})
    out.table(rows, _LIST, "nothing is archived yet")


@archive.command()
@output_options
def verify(out: Output) -> None:
    """Read every byte of the archive and compare it with its checksums. Exit code 3 when anything differs."""
    problems = _run(_verify(_archive(), out))
    say(f"{problems} problem{'' if problems == 1 else 's'} found" if problems else "everything is as it was written")
    if problems:
        raise Exit(CHECK_FAILED)


async def _verify(found: Archive, out: Output) -> int:
    from dataclasses import asdict

    from leadstream_archive.checking import check

    problems = entries = files = 0
    async for each in check(found):
        files += 1
        entries += each.entries
        problems += bool(each.problem)
        if out.as_json or each.problem:
            out.line(asdict(each), printable(f"{each.name}: {each.problem}"))
    say(f"{files} files, {entries} entries read")
    return problems


@archive.command()
@click.argument("file", default="-", metavar="[FILE|-]")
@click.option("--stream", "streams", multiple=True, type=click.Choice(STREAM_NAMES), help="Only this one; repeatable.")
@click.option("--since", help="A span (10m), an entry id or a time.")
@click.option("--until", help="The same; entries stored then are not in it.")
@click.option("--pii", is_flag=True, help="With what is not sealed of personal data.")
def export(file: str, streams: tuple[str, ...], since: str | None, until: str | None, pii: bool) -> None:
    """Write archived entries to FILE or stdout as CloudEvents, stream by stream, without asking Redis for entries.

    What is sealed stays sealed. `leadstream export` writes archive and streams as one, with the keys of leads.
    """
    path = None if file == "-" else Path(file)
    if path is not None and path.exists():
        raise ConfigurationError(f"{path} exists")
    if path is None:
        count = _run(_export(_archive(), sys.stdout.buffer, frozenset(streams), since, until, pii))
    else:
        path.touch(mode=0o600)
        with path.open("wb") as sink:
            count = _run(_export(_archive(), sink, frozenset(streams), since, until, pii))
    say(f"{count} events")


async def _export(
    found: Archive, sink: IO[bytes], streams: frozenset[str], since: str | None, until: str | None, pii: bool
) -> int:
    from leadstream_archive.lines import place_of
    from leadstream_cli.cloudevents import to_line
    from leadstream_events.entry_ids import just_before

    first, end = await _span(since, until)
    count = 0
    manifest = await found.refresh()
    for key in sorted(manifest.streams):
        stream, partition = place_of(key)
        if streams and stream not in streams:
            continue
        async for page in found.pages(key, just_before(first) if first else "0-0", just_before(end) if end else None):
            for entry_id, fields in page:
                sink.write(to_line(key, partition, entry_id.decode(), fields, pii=pii) + b"\n")
                count += 1
    sink.flush()
    return count


async def _span(since: str | None, until: str | None) -> tuple[str | None, str | None]:
    """Both as entry ids; spans are counted back from the server's clock."""
    if since is None and until is None:
        return None, None
    async with redis_client() as client:
        now_ms = await server_ms(client)
    out: list[str | None] = []
    for name, text in (("--since", since), ("--until", until)):
        try:
            out.append(parse_since(text, now_ms) if text else None)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=name) from None
    return out[0], out[1]
