"""`dead`: what was given up, and why; done again, dropped, or settled by a person."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import rich_click as click

from leadstream_cli.acting import Consent, consent_options
from leadstream_cli.commands.show import find_entry, print_entry
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.dead_choice import BY, Choice
from leadstream_cli.errors_text import say
from leadstream_cli.output import Column, Output, output_options, stamp
from leadstream_cli.queries import places, short_name
from leadstream_cli.raw_entry import RawEntry
from leadstream_cli.tailing import Wanted, last
from leadstream_events import keys

P = ParamSpec("P")
R = TypeVar("R")
SCAN = 10_000
# The same as `dead_choice.BY`, read without any schema: lists must start fast.
_KEYS: dict[str, Callable[[RawEntry], str]] = {
    "cause": lambda entry: str(_data(entry, "cause")),
    "group": lambda entry: str(_data(entry, "group")),
    "lead": lambda entry: entry.fields.get("subject") or "",
    "subscriber": lambda entry: str(_data(entry, "subscriber_id") or ""),
    "domain": lambda entry: _domain(entry),
}


def _data(entry: RawEntry, name: str) -> Any:
    return entry.data.get(name) if isinstance(entry.data, dict) else None


def _domain(entry: RawEntry) -> str:
    fields = _data(entry, "fields")
    data = fields.get("data") if isinstance(fields, dict) else None
    to = data.get("to") if isinstance(data, dict) else None
    return to.rpartition("@")[2].lower() if isinstance(to, str) else ""


@click.group()
def dead() -> None:
    """Show dead letters, have them done again, drop or settle them."""


def choice_options(command: Callable[P, R]) -> Callable[..., R]:
    """Adds the filters; the command gets them as `choice`."""

    @click.argument("letters", nargs=-1, metavar="[LETTER]...")
    @click.option("--cause", help="Only those given up for this cause.")
    @click.option("--group", help="Only those that this group gave up.")
    @click.option("--lead", help="Only those of this lead (its id).")
    @click.option("--subscriber", help="Only those of this subscriber: id, address or name.")
    @click.option("--domain", help="Only mails to this domain.")
    @click.option("--all", "everything", is_flag=True, help="Every open letter.")
    @functools.wraps(command)
    def wrapper(*args: Any, letters: tuple[str, ...], domain: str | None, **kwargs: Any) -> R:
        names = ("cause", "group", "lead", "subscriber", "everything")
        found = {name: kwargs.pop(name) for name in names}
        choice = Choice(frozenset(letters), domain=domain.lower() if domain else None, **found)
        if not choice.given:
            raise click.UsageError("say which: letters, a filter, or --all", click.get_current_context())
        kwargs["choice"] = choice
        return command(*args, **kwargs)

    return wrapper


@dead.command("list")
@click.option("--by", type=click.Choice((*BY, "none")), default="cause", show_default=True, help="How to group them.")
@output_options
def list_(by: str, out: Output) -> None:
    """Show dead letters, counted by what they have in common; `--by none` lists them one by one."""
    entries, total = asyncio.run(_read())
    if total > len(entries):
        say(f"there are {total}; these are the newest {len(entries)}")
    if by == "none":
        rows = [_row(entry) for entry in entries]
        names = ("entry", "time", "cause", "group", "of", "lead_id", "subscriber_id", "detail")
        out.table(rows, [Column(name, name.upper()) for name in names], "no dead letters")
        return
    counts: dict[str, list[RawEntry]] = {}
    for entry in entries:
        counts.setdefault(_KEYS[by](entry), []).append(entry)
    grouped = [
        {
            by: key or None,
            "count": len(found),
            "oldest": stamp(found[0].stored_ms),
            "newest": stamp(found[-1].stored_ms),
        }
        | {"example": found[-1].place}
        for key, found in sorted(counts.items(), key=lambda pair: -len(pair[1]))
    ]
    columns = [
        Column(name, name.upper(), right=name == "count") for name in (by, "count", "oldest", "newest", "example")
    ]
    out.table(grouped, columns, "no dead letters")


def _row(entry: RawEntry) -> dict[str, Any]:
    return {
        "entry": entry.place,
        "time": stamp(entry.stored_ms),
        "lead_id": entry.fields.get("subject"),
        "of": f"{_data(entry, 'stream')}/{_data(entry, 'entry_id')}",
        **{
            name: _data(entry, name) for name in ("cause", "group", "subscriber_id", "email_id", "detail", "deliveries")
        },
    }


async def _read() -> tuple[list[RawEntry], int]:
    async with redis_client() as client:
        chosen = [p for p in places(await stored_partitions(client)) if short_name(p[0]) == keys.DEAD]
        total = sum([int(await client.xlen(key)) for key, _ in chosen])
        entries, _ = await last(client, chosen, SCAN, Wanted())
        return entries, total


@dead.command()
@click.argument("entry")
@output_options
def show(entry: str, out: Output) -> None:
    """Show one dead letter whole, with the entry that was given up: an id, or dead/ID."""
    print_entry(find_entry(entry if "/" in entry else f"dead/{entry}"), out)


_BY_OPTION = click.option(
    "--by", type=click.Choice(tuple(BY)), default="cause", show_default=True, help="How to count."
)
_RATE_OPTION = click.option("--rate", default="off", show_default=True, help="At most so many: 10/s, 100/min.")
_LIMIT_OPTION = click.option("-n", "--limit", type=click.IntRange(min=1), help="At most that many, oldest first.")


@dead.command()
@choice_options
@_BY_OPTION
@_RATE_OPTION
@_LIMIT_OPTION
@consent_options()
@output_options
def redrive(choice: Choice, by: str, rate: str, limit: int | None, consent: Consent, out: Output) -> None:
    """Have given-up mails sent again, and other entries done again by their group; each once.

    Says first how many it would be. A mail that the mailer would skip is refused, with the mend; one that was sent
    meanwhile is never sent again.
    """
    _run("redrive", choice, by, rate, limit, consent, out)


@dead.command()
@choice_options
@_BY_OPTION
@_LIMIT_OPTION
@consent_options(reason_required=True)
@output_options
def drop(choice: Choice, by: str, limit: int | None, consent: Consent, out: Output) -> None:
    """Close dead letters for good. The reason is kept in the story of the lead."""
    _run("drop", choice, by, "off", limit, consent, out)


@dead.command()
@choice_options
@click.option("--sent/--not-sent", "sent", default=None, help="What became of the mails.")
@_BY_OPTION
@_LIMIT_OPTION
@consent_options()
@output_options
def settle(choice: Choice, sent: bool | None, by: str, limit: int | None, consent: Consent, out: Output) -> None:
    """Say what became of held mails: sent after all, or not. Sent ones count; others can then be redriven."""
    if sent is None:
        raise click.UsageError("say what became of them: --sent or --not-sent", click.get_current_context())
    _run("settle as sent" if sent else "settle as not sent", choice, by, "off", limit, consent, out)


def _run(action: str, choice: Choice, by: str, rate: str, limit: int | None, consent: Consent, out: Output) -> None:
    from leadstream_cli.dead_acts import Order, carry_out
    from leadstream_events.limits import parse_rate

    try:
        limited = parse_rate(rate)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rate") from None
    pause_s = limited.period_ms / 1000 / limited.count if limited else 0.0
    asyncio.run(carry_out(Order(action, choice, by, pause_s, limit), consent, out))
