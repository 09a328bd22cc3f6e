"""`inbox`: what the local inbox of a running `leadstream up` has caught."""

from __future__ import annotations

import rich_click as click

from leadstream_cli.connection import running
from leadstream_cli.errors_text import say
from leadstream_cli.output import Column, Output, output_options
from leadstream_events.errors import LeadstreamError, NotFound

_COLUMNS = (
    Column("number", "MAIL", right=True),
    Column("at", "AT", lambda value: str(value)[:19]),
    Column("to", "TO"),
    Column("subject", "SUBJECT"),
    Column("size", "BYTES", right=True),
)


@click.command()
@click.argument("number", type=click.IntRange(min=1), required=False)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--counts", is_flag=True, help="Only how many mails came, and how many of them twice.")
@output_options
def inbox(number: int | None, limit: int, counts: bool, out: Output) -> None:
    """Show the latest mails of the local inbox, or mail NUMBER as it came.

    The list masks addresses and subjects, which name the lead, unless --pii is given; mail NUMBER is shown in full.
    """
    from leadstream_cli.http_client import ApiClient
    from leadstream_events.masking import mask_word

    up = running()
    if up is None or not up.inbox_url:
        raise NotFound("no local inbox here: start `leadstream up` in this directory, without LEADSTREAM_SMTP_URL")
    with ApiClient(up.inbox_url) as api:
        path = f"/mails/{number}" if number else "/counts" if counts else f"/mails?limit={limit}"
        answer = api.request("GET", path)
        totals = api.request("GET", "/counts").body if not number else {}
    if not answer.ok:
        raise LeadstreamError(answer.problem)
    if number:
        click.echo(answer.body, nl=False)
    elif counts:
        out.record(answer.body)
    else:
        rows = [
            {**mail, "to": mail["recipients"], "subject": mail["subject"] if out.pii else mask_word(mail["subject"])}
            for mail in answer.body
        ]
        out.table(rows, _COLUMNS, "no mail yet")
        say(f"{totals['mails']} mails, {totals['doubled']} doubled")
