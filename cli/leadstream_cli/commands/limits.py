"""`limits`: what holds mails back, and when the next one may go."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import rich_click as click

from leadstream_cli.connection import redis_client
from leadstream_cli.output import Column, Output, output_options


def _plain(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


def _moment(value: Any) -> str:
    return str(value)[:19].replace("T", " ") if value else "-"


_COLUMNS = (
    Column("name", "FOR"),
    Column("what", "WHAT"),
    Column("limit", "LIMIT", right=True),
    Column("used", "USED", right=True),
    Column("next_at", "NEXT MAIL (UTC)", lambda value: _moment(value) if value else "at once"),
    Column("until", "CHANGES (UTC)", _moment),
)


@click.command()
@output_options
def limits(out: Output) -> None:
    """Show every limit on mails: rates, mails at a time, slowed domains and the warm-up, and when the next may go.

    A slowed domain answered with the rate or the reputation of the sender; it gets more again every minute.
    """

    async def read() -> list[dict[str, Any]]:
        from leadstream_events.settings import load_settings
        from leadstream_events.views_limits import limit_lines

        async with redis_client() as client:
            found = await limit_lines(client, load_settings(), datetime.now(UTC))
        return [{key: _plain(value) for key, value in asdict(line).items()} for line in found]

    out.table(asyncio.run(read()), _COLUMNS, "no limits: mails go out as fast as the server takes them")
