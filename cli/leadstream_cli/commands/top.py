"""`top`: the live view."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import rich_click as click

from leadstream_cli.connection import redis_client, shown_redis_url, stored_partitions
from leadstream_cli.output import Column, Output, age, emit_json, output_options

if TYPE_CHECKING:
    from leadstream_cli.top_data import Snapshot
    from leadstream_events.limits import Rate


@click.command()
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(min=0.5, max=3600), help="Seconds.")
@click.option("--once", is_flag=True, help="Print it once and end; so it is without a terminal and with --json too.")
@output_options
def top(every: float, once: bool, out: Output) -> None:
    """Watch groups, streams, mails against the limit, dead letters and the spool.

    Keys: arrows and Enter look into a group's pending entries and further to a lead's story, d into dead letters,
    Esc goes back, p pauses, q quits.
    """
    from leadstream_events.settings import load_settings

    rate = load_settings().rate_limit
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if once or out.as_json or not terminal:
        _print(asyncio.run(_look(rate)), out)
    else:
        asyncio.run(_run(rate, every, out))


async def _look(rate: Rate | None) -> Snapshot:
    from leadstream_cli.story import open_log
    from leadstream_cli.top_data import look

    async with redis_client() as client:
        log = open_log(client, await stored_partitions(client))
        return (await look(log, rate, datetime.now(UTC), None))[0]


async def _run(rate: Rate | None, every: float, out: Output) -> None:
    from leadstream_cli.story import open_log
    from leadstream_cli.top_app import TopApp

    async with redis_client() as client:
        # A Redis that is away at the start ends it with one line; one that goes away later shows on the screen.
        log = open_log(client, await stored_partitions(client))
        await TopApp(log, rate, shown_redis_url(), every, out).run_async()


def _print(shot: Snapshot, out: Output) -> None:
    from leadstream_cli.top_data import count_text, mail_lines

    if out.as_json:
        emit_json(asdict(shot))
        return
    for line in mail_lines(shot):
        click.echo(line)
    click.echo()
    groups = [asdict(line) | {"lag_text": count_text(line)} for line in shot.groups]
    out.table(groups, _GROUPS, "no groups yet")
    click.echo()
    out.table([asdict(line) for line in shot.streams], _STREAMS, "no streams yet")


_GROUPS = (
    Column("group", "GROUP"),
    Column("lag_text", "LAG", right=True),
    Column("lag_age_s", "LAG AGE", age, right=True),
    Column("pending", "PENDING", right=True),
    Column("parked", "PARKED", right=True),
    Column("oldest_s", "OLDEST", age, right=True),
    Column("consumers", "WORKERS", right=True),
)
_STREAMS = (
    Column("stream", "STREAM"),
    Column("entries", "ENTRIES", right=True),
    Column("newest_s", "NEWEST", age, right=True),
)
