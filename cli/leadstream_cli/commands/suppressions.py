"""`suppressions`: addresses that get no mail."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.commands.subscribers import checked
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.durations import duration
from leadstream_cli.errors_text import FAILED, say
from leadstream_cli.output import Column, Output, output_options
from leadstream_events.errors import LeadstreamError, NotFound

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client
    from leadstream_events.schemas.subscriber import Suppression

_COLUMNS = (
    Column("address", "ADDRESS"),
    Column("reason", "REASON"),
    Column("created_at", "SINCE"),
    Column("expires_at", "UNTIL", lambda value: str(value) if value else "for ever"),
    Column("holds", "HOLDS"),
)


@click.group()
def suppressions() -> None:
    """Show and change the addresses that get no mail."""


@suppressions.command("list")
@output_options
def list_(out: Output) -> None:
    """Show every suppression, also those that have run out."""

    async def read() -> list[dict[str, Any]]:
        from leadstream_events.subscribers import SubscriberStore, utc_now

        async with redis_client() as client:
            found = await SubscriberStore(client).suppressions()
        return [each.model_dump(mode="json") | {"holds": each.holds(utc_now())} for each in found]

    out.table(asyncio.run(read()), _COLUMNS, "no address is suppressed")


def _suppression(address: str, reason: str, days: float | None, now: datetime) -> Suppression:
    from leadstream_events.schemas.subscriber import Suppression

    until = now + timedelta(days=days) if days else None
    return checked(Suppression, {"address": address, "reason": reason, "created_at": now, "expires_at": until})


@suppressions.command()
@click.argument("address")
@click.option("--reason", default="manual", show_default=True)
@click.option("--days", type=click.FloatRange(min=0, min_open=True, max=36_500), help="Until then; else for ever.")
@output_options
def add(address: str, reason: str, days: float | None, out: Output) -> None:
    """Send no more mail to ADDRESS; again replaces reason and end."""

    async def write() -> Suppression:
        from leadstream_events.subscribers import SubscriberStore, utc_now

        made = _suppression(address, reason, days, utc_now())
        async with redis_client() as client:
            await SubscriberStore(client).suppress(made, utc_now())
        return made

    out.record(asyncio.run(write()).model_dump(mode="json"))


@suppressions.command()
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--by", default="cli", show_default=True, help="Who lifts it; kept in the event.")
@click.option("--send-held", is_flag=True, help="Also send the subscriber what was skipped meanwhile; asks again.")
@click.option("--within", default="7d", show_default=True, callback=duration, help="How far back --send-held looks.")
@output_options
def remove(address: str, yes: bool, dry_run: bool, by: str, send_held: bool, within: float, out: Output) -> None:
    """Let ADDRESS get mail again."""
    if dry_run:
        out.record(asyncio.run(_would_remove(address, within if send_held else None)))
        say("dry run: nothing was changed")
        return
    if not yes:
        click.confirm("Lift the suppression of this address?", abort=True, err=True)
    out.record(asyncio.run(_remove(address, by, within if send_held else None, yes)))


async def _would_remove(address: str, within_s: float | None) -> dict[str, Any]:
    """The suppression that `remove` would lift, and with `within_s` how many mails it would then send."""
    from leadstream_cli.story import open_log
    from leadstream_events import skipped_mails
    from leadstream_events.schemas.lead import address_key
    from leadstream_events.subscribers import SubscriberStore, utc_now

    async with redis_client() as client:
        store, key = SubscriberStore(client), address_key(address)
        found = next((each for each in await store.suppressions() if address_key(each.address) == key), None)
        if found is None and within_s is None:
            raise NotFound("this address is not suppressed")
        would = {"would_release": int(found is not None), "reason": found.reason if found else None}
        subscriber = await store.by_address(address)
        if within_s is None or subscriber is None:
            return would
        log, since = open_log(client, await stored_partitions(client)), utc_now() - timedelta(seconds=within_s)
        return would | {"would_send": len(await skipped_mails.find(log, subscriber.id, since))}


async def _remove(address: str, by: str, within_s: float | None, yes: bool) -> dict[str, Any]:
    """Lifts it; `within_s` is how far back skipped mails are looked for, None to leave them."""
    from leadstream_events.subscribers import SubscriberStore, utc_now

    async with redis_client() as client:
        store = SubscriberStore(client)
        released = 1
        try:
            await store.release(address, by, utc_now())
        except NotFound:
            if within_s is None:
                raise
            released = 0  # an earlier call released it, and did not come to the mails
        subscriber = await store.by_address(address)
        if within_s is None or subscriber is None:
            return {"released": released}
        since = utc_now() - timedelta(seconds=within_s)
        return {"released": released} | await _send_held(client, subscriber.id, since, by, yes)


async def _send_held(client: Client, subscriber_id: str, since: datetime, by: str, yes: bool) -> dict[str, Any]:
    from leadstream_cli.story import open_log
    from leadstream_events import skipped_mails
    from leadstream_events.redrive import Redriver
    from leadstream_events.redrive_rules import TEXT, Actor
    from leadstream_events.settings import load_settings

    log = open_log(client, await stored_partitions(client))
    mails = await skipped_mails.find(log, subscriber_id, since)
    if not mails:
        return {"held": 0, "requested": 0}
    if not yes and not click.confirm(
        f"Send {len(mails)} that were skipped since {since:%Y-%m-%d %H:%M} UTC?", err=True
    ):
        return {"held": len(mails), "requested": 0}
    redriver = Redriver(log, lease_s=load_settings().lease)
    done = await skipped_mails.send(redriver, mails, Actor(by, skipped_mails.WHY))
    for refusal, count in done.items():
        if refusal is not None:
            say(f"{count} not sent: {TEXT[refusal]}")
    return {"held": len(mails), "requested": done[None]}


@suppressions.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--reason", default="import", show_default=True)
@output_options
def import_(file: Path, reason: str, out: Output) -> None:
    """Suppress every address in FILE, one a line; good lines are taken, exit code 1 tells that some were bad."""

    async def write() -> list[dict[str, Any]]:
        from leadstream_events.subscribers import SubscriberStore, utc_now

        rows: list[dict[str, Any]] = []
        async with redis_client() as client:
            store = SubscriberStore(client)
            for number, line in enumerate(_lines(file), 1):
                if not line or line.startswith("#"):
                    continue
                try:
                    await store.suppress(_suppression(line, reason, None, utc_now()), utc_now())
                    rows.append({"line": number, "result": "suppressed", "problem": None})
                except LeadstreamError as error:
                    rows.append({"line": number, "result": "bad", "problem": str(error)})
        return rows

    rows = asyncio.run(write())
    out.table(rows, [Column(name, name.upper()) for name in ("line", "result", "problem")], f"{file} holds no address")
    bad = sum(row["result"] == "bad" for row in rows)
    say(f"{len(rows) - bad} suppressed, {bad} bad")
    if bad:
        raise Exit(FAILED)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise LeadstreamError(f"{path}: not UTF-8") from None
