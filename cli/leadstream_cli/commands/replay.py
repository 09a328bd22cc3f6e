"""`replay`: shows what today's code and subscribers would make of leads of the past. Nothing is sent or stored."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import say
from leadstream_cli.output import Column, Output, output_options
from leadstream_cli.tailing import parse_since
from leadstream_events.server_time import server_ms

if TYPE_CHECKING:
    from leadstream_cli.fanout_replay import Replayed

_COLUMNS = (
    Column("lead_id", "LEAD"),
    Column("partition", "PART", right=True),
    Column("more", "WOULD GET IT NOW"),
    Column("fewer", "WOULD NOT GET IT NOW"),
    Column("used_up", "NO PURCHASED LEADS LEFT"),
)


@click.command()
@click.option("--since", required=True, metavar="TIME|ID", help="The first lead: 1d, a time, an entry id.")
@click.option("--handler", required=True, type=click.Choice(["fanout"]), help="Whose work is looked at.")
@click.option("--dry-run", is_flag=True, help="Must be given: there is no other way to replay.")
@click.option("--all", "everything", is_flag=True, help="Also leads for which nothing would be different.")
@output_options
def replay(since: str, handler: str, dry_run: bool, everything: bool, out: Output) -> None:
    """Show which mails today's code, settings and subscribers would request for leads of the past, beside what was.

    It only reads, and holds no code that could send. To have leads really done again, `seek` sets a group back.
    """
    if not dry_run:
        raise click.UsageError("only looks: say --dry-run")
    found = asyncio.run(_replay(since, everything))
    out.table([asdict(each) for each in found], _COLUMNS, "nothing would be different")


async def _replay(since: str, everything: bool) -> list[Replayed]:
    from leadstream_archive.history import History
    from leadstream_archive.opening import open_archive
    from leadstream_cli.fanout_replay import replay as compare
    from leadstream_events.settings import load_settings

    settings = load_settings()
    shown: list[Replayed] = []
    leads = would = requested = differ = 0
    async with redis_client() as client:
        try:
            first = parse_since(since, await server_ms(client))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--since") from None
        history = History(client, open_archive(settings))
        async for each in compare(history, await stored_partitions(client), first, welcome=settings.welcome):
            leads, would, requested = leads + 1, would + len(each.would), requested + len(each.requested)
            differ += each.differs
            if each.differs or everything:
                shown.append(each)
    say(f"{leads} leads: {would} mails would be requested, {requested} were; {differ} leads differ; nothing was done")
    return shown
