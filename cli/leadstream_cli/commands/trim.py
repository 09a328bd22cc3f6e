"""`trim`: deletes old entries that nobody needs any more; a dry run unless told otherwise."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.acting import Consent, consent_options
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import FAILED, say
from leadstream_cli.output import Column, Output, output_options
from leadstream_cli.queries import read_streams
from leadstream_cli.tailing import parse_since
from leadstream_cli.trim_plan import TRIMMED, Trim, plan_trim
from leadstream_events.server_time import server_ms

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client

_COLUMNS = (
    Column("stream", "STREAM"),
    Column("partition", "PART", right=True),
    Column("entries", "ENTRIES", right=True),
    Column("count", "TO GO", right=True),
    Column("before", "BELOW"),
    Column("blocked_by", "THE REST IS KEPT FOR"),
)


@click.command()
@click.argument("stream", type=click.Choice(TRIMMED))
@click.option("--before", required=True, metavar="TIME|ID", help="Entries older than that: 30d, a time, an entry id.")
@consent_options()
@output_options
def trim(stream: str, before: str, consent: Consent, out: Output) -> None:
    """Delete old entries of STREAM that every group has finished; only shows what would go, unless --yes is given.

    Kept, whatever is asked for: what a group has not been handed or has not finished, and the lead of a mail or dead
    letter that is still open. What goes is gone: timelines lose it, and projections cannot be rebuilt from it. So
    export it first.
    """
    asyncio.run(_trim(stream, before, consent, out))


async def _trim(stream: str, before: str, consent: Consent, out: Output) -> None:
    async with redis_client() as client:
        try:
            asked = parse_since(before, await server_ms(client))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--before") from None
        found = await read_streams(client, await stored_partitions(client))
        plans = [await plan_trim(client, each, asked) for each in found if each.stream == stream]
        if consent.yes and not consent.dry_run:
            rows = [await _carry_out(client, plan, consent) for plan in plans]
            out.table(rows, (*_COLUMNS, Column("deleted", "DELETED", right=True)), f"no {stream} yet")
            if any(row["blocked_by"] and row["deleted"] != row["count"] for row in rows):
                raise Exit(FAILED)
            return
    out.table([asdict(plan) for plan in plans], _COLUMNS, f"no {stream} yet")
    if plans:
        say(f"dry run: --yes deletes {sum(plan.count for plan in plans)} entries for good")


async def _carry_out(client: Client, plan: Trim, consent: Consent) -> dict[str, Any]:
    from leadstream_events.groups import working_on
    from leadstream_events.operations import Blocked
    from leadstream_events.operations import trim as trim_steps
    from leadstream_events.subscribers import utc_now

    row = asdict(plan) | {"deleted": 0}
    if not plan.count:
        return row
    done = await trim_steps(
        client,
        plan.partition,
        plan.stream,
        before=plan.before,
        count=plan.count,
        groups=working_on(plan.stream),
        actor=consent.actor,
        now=utc_now(),
    )
    if isinstance(done, Blocked):
        return row | {"blocked_by": f"{done.group}: {done.what}"}
    return row | {"deleted": done}
