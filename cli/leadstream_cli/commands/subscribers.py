"""`subscribers`: who buys leads, from which states, and how many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.connection import redis_client
from leadstream_cli.errors_text import FAILED, say
from leadstream_cli.output import Column, Output, emit_json, output_options
from leadstream_events.errors import LeadstreamError, NotFound
from leadstream_events.masking import mask_address

if TYPE_CHECKING:
    from pydantic import BaseModel

    from leadstream_events.csv_subscribers import Taken
    from leadstream_events.redis_client import Client
    from leadstream_events.schemas.subscriber import Subscriber, Suppression
    from leadstream_events.subscribers import Usage

    M = TypeVar("M", bound=BaseModel)

_COLUMNS = (
    Column("id", "ID"),
    Column("email", "EMAIL"),
    Column("name", "NAME"),
    Column("active", "ACTIVE"),
    Column("states", "STATES", lambda value: " ".join(value) or "all"),
    Column("leads_purchased", "PURCHASED", lambda value: "no limit" if value is None else str(value), right=True),
    Column("format", "FORMAT"),
    Column("leads_sent", "SENT", right=True),
    Column("leads_remaining", "LEFT", right=True),
    Column("last_sent", "LAST SENT"),
    Column("suppressed", "GETS NO MAIL", lambda value: value or ""),
)


@click.group()
def subscribers() -> None:
    """Show and change subscribers."""


def row_of(subscriber: Subscriber, usage: Usage) -> dict[str, Any]:
    """A subscriber as lists show it."""
    row: dict[str, Any] = subscriber.model_dump(mode="json")
    limit = subscriber.leads_purchased
    last = usage.last_sent.isoformat(timespec="seconds") if usage.last_sent else None
    left = None if limit is None else max(0, limit - usage.sent - usage.reserved)
    return row | {"leads_sent": usage.sent, "leads_remaining": left, "last_sent": last}


def _held(found: Suppression | None) -> dict[str, Any]:
    """Why a subscriber's address gets no mail, and until when."""
    until = found.expires_at.isoformat(timespec="seconds") if found and found.expires_at else None
    return {"suppressed": found.reason if found else None, "suppressed_until": until}


@subscribers.command("list")
@output_options
def list_(out: Output) -> None:
    """Show every subscriber with what was sent and what is left."""

    async def read() -> list[dict[str, Any]]:
        from leadstream_events.subscribers import SubscriberStore, utc_now
        from leadstream_events.unsubscribing import silent

        async with redis_client() as client:
            store = SubscriberStore(client)
            found = await store.all()
            usage = await store.usage([each.id for each in found]) if found else {}
            held = await silent(client, found, utc_now())
            return [row_of(each, usage[each.id]) | _held(held.get(each.id)) for each in found]

    out.table(asyncio.run(read()), _COLUMNS, "no subscribers: leadstream subscribers add, or import FILE.csv")


def checked(model: type[M], values: dict[str, Any]) -> M:
    """The values as a model; `LeadstreamError` names the field that is wrong."""
    from pydantic import ValidationError

    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "value"
        raise LeadstreamError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None


def _states(values: tuple[str, ...]) -> tuple[str, ...]:
    from leadstream_events.csv_subscribers import parse_states

    return parse_states(" ".join(values))


_FORMATS = click.Choice(("html", "text", "adf"))


@subscribers.command()
@click.argument("email")
@click.option("--name", required=True)
@click.option("--state", "states", multiple=True, help="May be repeated, or CA,WA; none means all.")
@click.option("--leads-purchased", type=click.IntRange(min=0), help="None means no limit.")
@click.option("--format", "form", type=_FORMATS, default="html", show_default=True, help="Of the mails: adf is XML.")
@click.option("--inactive", is_flag=True)
@output_options
def add(
    email: str, name: str, states: tuple[str, ...], leads_purchased: int | None, form: str, inactive: bool, out: Output
) -> None:
    """Add a subscriber."""

    async def write() -> Subscriber:
        from leadstream_events.schemas.subscriber import SubscriberDraft
        from leadstream_events.subscribers import SubscriberStore, utc_now

        values = {"email": email, "name": name, "active": not inactive, "states": _states(states)}
        draft = checked(SubscriberDraft, values | {"leads_purchased": leads_purchased, "format": form})
        async with redis_client() as client:
            return await SubscriberStore(client).add(draft, utc_now())

    out.record(asyncio.run(write()).model_dump(mode="json"))


async def _find(client: Client, wanted: str) -> Subscriber:
    """By id or by address."""
    from leadstream_events.subscribers import SubscriberStore

    store = SubscriberStore(client)
    if "@" not in wanted:
        return await store.get(wanted)
    found = await store.by_address(wanted)
    if found is None:
        raise NotFound(f"no subscriber with the address {mask_address(wanted)}")
    return found


@subscribers.command()
@click.argument("subscriber")
@click.option("--email")
@click.option("--name")
@click.option("--state", "states", multiple=True, help="May be repeated; replaces all states.")
@click.option("--all-states", is_flag=True)
@click.option("--leads-purchased", type=click.IntRange(min=0))
@click.option("--no-limit", is_flag=True)
@click.option("--format", "form", type=_FORMATS, help="Of the mails from now on.")
@click.option("--active/--inactive", default=None)
@output_options
def change(
    subscriber: str,
    email: str | None,
    name: str | None,
    states: tuple[str, ...],
    all_states: bool,
    leads_purchased: int | None,
    no_limit: bool,
    form: str | None,
    active: bool | None,
    out: Output,
) -> None:
    """Change a SUBSCRIBER, given by id or address; what is not named stays."""
    changes: dict[str, Any] = {"email": email, "name": name, "active": active, "format": form}
    changes["leads_purchased"] = leads_purchased
    changes = {key: value for key, value in changes.items() if value is not None}
    if states or all_states:
        changes["states"] = () if all_states else _states(states)
    if no_limit:
        changes["leads_purchased"] = None
    if not changes:
        raise click.UsageError("nothing to change: name at least one option")

    async def write() -> Subscriber:
        from leadstream_events.schemas.subscriber import SubscriberPatch
        from leadstream_events.subscribers import SubscriberStore, utc_now

        patch = checked(SubscriberPatch, changes)
        async with redis_client() as client:
            found = await _find(client, subscriber)
            return await SubscriberStore(client).change(found.id, patch, utc_now())

    out.record(asyncio.run(write()).model_dump(mode="json"))


@subscribers.command()
@click.argument("subscriber")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_options
def remove(subscriber: str, yes: bool, out: Output) -> None:
    """Remove a SUBSCRIBER, given by id or address. Mails already requested are skipped."""

    async def write() -> dict[str, Any]:
        from leadstream_events.subscribers import SubscriberStore, utc_now

        async with redis_client() as client:
            found = await _find(client, subscriber)
            if not yes:
                shown = out.clean({"name": found.name, "email": found.email})
                click.confirm(f"Remove {shown['name']} <{shown['email']}>?", abort=True, err=True)
            await SubscriberStore(client).remove(found.id, utc_now())
            return {"removed": found.id}

    out.record(asyncio.run(write()))


async def import_file(client: Client, path: Path, tell: Callable[[Taken], None]) -> int:
    """Takes every good line: adds by address, or changes what is there. Returns how many lines were bad."""
    from leadstream_events.csv_subscribers import BadLine, Taken, read_subscribers, store
    from leadstream_events.subscribers import SubscriberStore, utc_now

    known, bad = SubscriberStore(client), 0
    with path.open(encoding="utf-8-sig", newline="") as source:
        try:
            for item in read_subscribers(source):
                if isinstance(item, BadLine):
                    bad += 1
                    tell(Taken(item.number, "bad", problem=item.problem))
                else:
                    tell(await store(known, item, utc_now()))
        except UnicodeDecodeError as error:
            raise LeadstreamError(f"{path}: not UTF-8 (byte {error.start}): save it as UTF-8") from None
    return bad


@subscribers.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@output_options
def import_(file: Path, out: Output) -> None:
    """Add or change subscribers from FILE.csv, by address; the same file again changes nothing.

    Columns: email, name, active, states, leads_purchased, format. Good lines are taken even if others are bad; exit
    code 1 tells that some were.
    """
    taken: list[Taken] = []

    def tell(item: Taken) -> None:
        taken.append(item)
        if not out.as_json:
            click.echo(f"line {item.line}: {item.problem or item.result}")

    async def write() -> int:
        async with redis_client() as client:
            return await import_file(client, file, tell)

    bad = asyncio.run(write())
    if out.as_json:
        emit_json([{name: getattr(item, name) for name in item.__dataclass_fields__} for item in taken])
    counts = {kind: sum(item.result == kind for item in taken) for kind in ("added", "changed", "unchanged", "bad")}
    say(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    if bad:
        raise Exit(FAILED)
