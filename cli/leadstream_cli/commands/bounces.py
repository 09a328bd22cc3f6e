"""`bounces`: the bounce receiver, and the mails that it keeps for a person."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from leadstream_cli.connection import redis_client
from leadstream_cli.output import Column, Output, output_options, printable
from leadstream_events.errors import NotFound

if TYPE_CHECKING:
    from leadstream_bounces.kept import Kept

_COLUMNS = (
    Column("entry_id", "ID"),
    Column("at", "TIME", lambda value: str(value)[:19] + "Z"),
    Column("why", "WHY"),
    Column("source", "SOURCE"),
    Column("from", "FROM"),
    Column("mail_subject", "SUBJECT"),
)


@click.group(invoke_without_command=True)
@click.pass_context
def bounces(context: click.Context) -> None:
    """Run the bounce receiver; with list or show, look at the mails that it keeps for a person.

    It takes mail to LEADSTREAM_RETURN_PATH and LEADSTREAM_ABUSE_TO by SMTP, LMTP or from a mailbox.
    """
    if context.invoked_subcommand is None:
        from leadstream_bounces.service import run
        from leadstream_cli.commands.services import serve_until_stopped

        serve_until_stopped("bounces", run)


@bounces.command("list")
@click.option("-n", "--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="The newest so many.")
@output_options
def list_(limit: int, out: Output) -> None:
    """List mails to the return path that changed nothing, the newest first.

    WHY: unverified (no token of ours), unknown_mail, other_address (not whom the mail went to), not_a_bounce,
    feedback (a virus, or a signature that does not hold).
    """

    async def read() -> list[Kept]:
        from leadstream_bounces.kept import newest

        async with redis_client() as client:
            return await newest(client, limit)

    out.table([_row(item) for item in asyncio.run(read())], _COLUMNS, "no mail is kept")


@bounces.command()
@click.argument("entry_id", metavar="ID")
@click.option("--raw", is_flag=True, help="Write the mail itself, up to 64 KiB of it; it needs --pii.")
@output_options
def show(entry_id: str, raw: bool, out: Output) -> None:
    """Show one kept mail: what it was taken for, and with --raw what it says."""

    async def read() -> Kept | None:
        from leadstream_bounces.kept import find

        async with redis_client() as client:
            return await find(client, entry_id)

    if raw and not out.pii:
        raise click.UsageError("--raw shows the mail as it came, so it needs --pii")
    if not entry_id.replace("-", "").isdecimal():
        raise click.UsageError(f"{entry_id[:40]!r} is no id; `leadstream bounces list` shows them")
    kept = asyncio.run(read())
    if kept is None:
        raise NotFound(f"no mail {entry_id} is kept: it may have been too old")
    if raw:
        sys.stdout.buffer.write(kept.raw)
        return
    out.record(_row(kept) | {"findings": _findings(kept.raw, out)})


def _row(kept: Kept) -> dict[str, Any]:
    row = {name: value for name, value in asdict(kept).items() if name not in ("raw", "sender", "recipients")}
    row |= {"at": kept.at.isoformat(timespec="seconds"), "mail_subject": printable(row.pop("subject"))}
    return row | {"from": printable(kept.sender), "recipients": [printable(item) for item in kept.recipients.split()]}


def _findings(raw: bytes, out: Output) -> list[str]:
    """What the mail says, for the case that the reader of reports has learned something since."""
    from leadstream_mail.bounces.read import read_report

    lines = []
    for finding in read_report(raw):
        about = out.clean({"recipient": finding.recipient or "nobody"})["recipient"]
        lines.append(printable(f"{finding.report_class} about {about} {finding.enhanced or ''}".strip()))
    return lines
