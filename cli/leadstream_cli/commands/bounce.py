"""`bounce ingest`: one report from a file or a pipe, as a mail server hands it to a program."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.connection import shown_redis_url
from leadstream_cli.errors_text import explain, say
from leadstream_cli.output import Output, output_options

if TYPE_CHECKING:
    from leadstream_bounces.intake import Taken

# sysexits.h: a mail server keeps the mail and tries again, or gives it up at once.
EX_DATAERR, EX_TEMPFAIL = 65, 75


@click.group()
def bounce() -> None:
    """Take reports about mails."""


@bounce.command()
@click.argument("source", type=click.Path(allow_dash=True), default="-", metavar="[FILE]")
@click.option("--recipient", "recipients", multiple=True, help="Whom the envelope named; else the header tells.")
@output_options
def ingest(source: str, recipients: tuple[str, ...], out: Output) -> None:
    """Take one bounce or complaint from FILE or standard input, as the bounce receiver would.

    For a mail server that pipes mail into a program. Exit codes are those of sysexits.h: 0 taken (recorded, or kept for
    a person), 75 not now (Redis or the settings), 65 too large.
    """
    from leadstream_bounces.intake import MAX_BYTES

    with click.open_file(source, "rb") as mail:
        raw = mail.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        say(f"leadstream bounce ingest: the mail has more than {MAX_BYTES} bytes")
        raise Exit(EX_DATAERR)
    try:
        taken = asyncio.run(_take(raw, recipients))
    except Exception as error:
        explained = explain(error, shown_redis_url())
        if explained is None:
            raise
        say(f"leadstream bounce ingest: {explained[0]}")
        raise Exit(EX_TEMPFAIL) from None
    row = {"results": taken.results, "kept": taken.kept, "suppressed": taken.suppressed, "lead_id": taken.lead_id}
    out.record(row)


async def _take(raw: bytes, recipients: tuple[str, ...]) -> Taken:
    from leadstream_bounces.intake import Intake
    from leadstream_bounces.proofs import Incoming, addressed_to
    from leadstream_bounces.service import check_addresses
    from leadstream_cli.connection import find_redis_url, redis_client, stored_partitions
    from leadstream_events import logs
    from leadstream_events.settings import load_settings
    from leadstream_events.signing import signing_secrets

    async with redis_client() as client:
        partitions = await stored_partitions(client)
        settings = load_settings(redis_url=find_redis_url().value, partitions=partitions)
        check_addresses(settings)
        logs.setup(settings.log_format, "bounce", level=logging.WARNING)
        intake = Intake(client, settings, await signing_secrets(client, settings))
        return await intake.take(Incoming(raw, recipients or addressed_to(raw), "file"))
