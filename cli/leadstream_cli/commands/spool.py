"""`spool`: what the API keeps on this machine's disk while Redis is away. Needs no Redis."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import rich_click as click

from leadstream_cli.connection import configured
from leadstream_cli.errors_text import say
from leadstream_cli.output import Column, Output, age, emit_json, output_options, stamp

_COLUMNS = (
    Column("lead_id", "LEAD"),
    Column("age_s", "AGE", age, right=True),
    Column("in_doubt", "IN DOUBT"),
    Column("mails", "MAILS"),
)


@click.command()
@click.option(
    "-n", "--limit", type=click.IntRange(min=0), default=20, show_default=True, help="At most that many leads."
)
@output_options
def spool(limit: int, out: Output) -> None:
    """Show leads that wait in the spool of LEADSTREAM_DATA_DIR for Redis, and how far their mails are.

    IN DOUBT: an append was sent to Redis and its answer never came, so Redis may have the lead already.
    """
    from leadstream_api.fallback.inspection import SpoolContents, read_spool

    found = configured("data_dir")
    data_dir = Path(found.value if found else "data")
    try:
        contents = read_spool(data_dir, limit)
    except sqlite3.Error as error:
        raise click.ClickException(f"{data_dir}: the spool cannot be read: {error}") from None
    held = contents or SpoolContents(str(data_dir))
    now_ms = int(time.time() * 1000)
    rows = [
        {
            "lead_id": item.lead_id,
            "spooled_at": stamp(item.spooled_ms),
            "age_s": max(0, now_ms - item.spooled_ms) / 1000,
            "in_doubt": item.in_doubt,
            "mails": item.mails,
        }
        for item in held.items
    ]
    if out.as_json:
        summary = {"leads": held.leads, "undecided": held.undecided, "oldest": stamp(held.oldest_ms)}
        emit_json({**summary, "mails": held.mails, "items": rows})
        return
    if not held.leads:
        say(f"the spool in {data_dir} is empty")
        return
    mails = _counts(held.mails)
    oldest = age(max(0, now_ms - (held.oldest_ms or now_ms)) / 1000)
    click.echo(f"{held.leads} leads, the oldest {oldest} old; mails: {mails}; {held.undecided} leads not decided yet")
    shown = [{**row, "mails": _counts(item.mails)} for row, item in zip(rows, held.items, strict=True)]
    out.table(shown, _COLUMNS, "no lead is shown")


def _counts(mails: dict[str, int]) -> str:
    return " ".join(f"{state}={count}" for state, count in mails.items()) or "-"
