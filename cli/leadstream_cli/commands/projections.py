"""`projections`: runs the service when called bare; shows how far the projections are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import rich_click as click

from leadstream_cli.commands.services import serve_until_stopped
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.output import Column, Output, age, output_options
from leadstream_cli.parts import PROJECTIONS
from leadstream_cli.queries import Group, read_streams
from leadstream_events import keys

if TYPE_CHECKING:
    from leadstream_events.settings import Settings

_COLUMNS = (
    Column("projection", "PROJECTION"),
    Column("generation", "GENERATION", right=True),
    Column("lag_text", "LAG", right=True),
    Column("lag_age_s", "LAG AGE", age, right=True),
    Column("pending", "PENDING", right=True),
    Column("consumers", "WORKERS", right=True),
)


@click.group(invoke_without_command=True)
@click.pass_context
def projections(context: click.Context) -> None:
    """Run the projections: exact counters from events. With a command, look after them."""
    if context.invoked_subcommand is not None:
        return

    async def make(settings: Settings) -> None:
        import logging

        from leadstream_projections.service import run

        # Faust tells of every part that starts and stops; ours is the one line that says `ready`.
        logging.getLogger("faust").setLevel(logging.WARNING)
        logging.getLogger("mode").setLevel(logging.WARNING)
        await run(settings)

    serve_until_stopped("projections", make)


@projections.command()
@output_options
def status(out: Output) -> None:
    """Show how far each projection is behind, over all its streams, and which generation of it is live."""
    out.table(asyncio.run(_status()), _COLUMNS, "no projections")


async def _status() -> list[dict[str, Any]]:
    async with redis_client() as client:
        partitions = await stored_partitions(client)
        streams = await read_streams(client, partitions)
        rows = []
        for group in PROJECTIONS:
            name = group.removeprefix(keys.PROJECTION_PREFIX)
            found = [await client.hget(keys.projection_pointer(number), name) for number in range(partitions)]
            generations = sorted({int(value or 1) for value in found})
            mine = [each for stream in streams for each in stream.groups if each.group == group]
            rows.append(_row(name, generations, mine))
    return rows


def _row(name: str, generations: list[int], mine: list[Group]) -> dict[str, Any]:
    lag = sum(each.lag for each in mine)
    exact = all(each.lag_exact for each in mine)
    return {
        "projection": name,
        "generation": generations[0] if len(generations) == 1 else generations,
        "started": bool(mine),
        "lag": lag,
        "lag_exact": exact,
        "lag_text": f"{lag}{'' if exact else '+'}" if mine else "never started",
        "lag_age_s": max((each.lag_age_s for each in mine if each.lag_age_s is not None), default=None),
        "pending": sum(each.pending for each in mine),
        "consumers": max((each.consumers for each in mine), default=0),
    }
