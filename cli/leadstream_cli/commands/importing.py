"""`import`: entries from CloudEvents JSON lines, into a Redis that then sends nothing for them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.acting import Consent, consent_options
from leadstream_cli.connection import redis_client
from leadstream_cli.errors_text import FAILED, say
from leadstream_cli.output import Output, output_options

if TYPE_CHECKING:
    from leadstream_cli.cloudevents import Stored
    from leadstream_cli.restoring import Imported

_BATCH = 200


@click.command("import")
@click.argument("file", metavar="FILE|-")
@click.option("--merge", is_flag=True, help="Into a Redis that is not empty: adds what is not there yet.")
@consent_options()
@output_options
def import_(file: str, merge: bool, consent: Consent, out: Output) -> None:
    """Store what `export --pii` wrote. No mail is ever sent or requested for it.

    Entries keep their ids, and what is there already is left as it is, so an import that was cut off is simply begun
    again with --merge. Mails that had not ended are held. Exit code 1 when a line was refused.
    """
    if file == "-":
        total, source = 0, sys.stdin.buffer
        report = asyncio.run(_import(source, total, merge, consent, "stdin"))
    else:
        path = Path(file)
        with path.open("rb") as opened:
            report = asyncio.run(_import(opened, path.stat().st_size, merge, consent, path.name))
    if report is None:
        return
    row = {"stored": report.stored, "there_already": report.there, "refused": report.refused_count}
    out.record(row)
    for number, reason in report.refused:
        say(f"line {number}: {reason}")
    if report.refused_count:
        raise Exit(FAILED)


def _parsed(lines: Iterator[tuple[int, bytes]], report: Imported) -> Iterator[tuple[int, Stored]]:
    from leadstream_cli.cloudevents import NotAnEvent, from_line

    for number, line in lines:
        if line.strip():
            try:
                yield number, from_line(line)
            except NotAnEvent as error:
                report.refuse(number, str(error))


async def _import(source: IO[bytes], size: int, merge: bool, consent: Consent, name: str) -> Imported | None:
    from leadstream_cli.progress import progress
    from leadstream_cli.restoring import Restorer, prepare
    from leadstream_events.operations import record
    from leadstream_events.subscribers import utc_now

    async with redis_client() as client:
        partitions = await prepare(client, merge=merge)
        # Lines that come from stdin leave no room for an answer.
        if not (consent.given(f"import {name} into this Redis?") if size or consent.dry_run else consent.yes):
            if not size and not consent.dry_run:
                raise click.UsageError("from stdin it needs --yes")
            return None
        restorer = Restorer(client, partitions)
        await restorer.load()
        with progress(size, "import") as step:

            def numbered() -> Iterator[tuple[int, bytes]]:
                for number, line in enumerate(source, 1):
                    step(len(line))
                    yield number, line

            batch: list[tuple[int, Stored]] = []
            for item in _parsed(numbered(), restorer.report):
                batch.append(item)
                if len(batch) == _BATCH:
                    await restorer.store(batch)
                    batch = []
            await restorer.store(batch)
        await restorer.count_purchased()
        report = restorer.report
        if report.stored:
            await record(client, "import", name, report.stored, report.refused_count, consent.actor, utc_now())
    return report
