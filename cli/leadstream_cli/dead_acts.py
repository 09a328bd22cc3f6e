"""Carries out `dead redrive|drop|settle`: looks, says what it found, asks, does it one by one, and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from click.exceptions import Exit

from leadstream_cli.acting import Consent
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.dead_choice import BY, Choice, Report, act, subscriber_id
from leadstream_cli.errors_text import FAILED, say
from leadstream_cli.output import Column, Output
from leadstream_cli.story import open_log
from leadstream_events import dead_letters, operations
from leadstream_events.dead_letters import Letter
from leadstream_events.log import StreamLog
from leadstream_events.redrive import Done, Redriver
from leadstream_events.redrive_rules import TEXT, Actor, Refusal
from leadstream_events.settings import load_settings
from leadstream_events.subscribers import utc_now

_PAST = {"redrive": "redriven", "drop": "dropped", "settle as sent": "settled", "settle as not sent": "settled"}


@dataclass(frozen=True, slots=True)
class Order:
    """What to do with which letters, counted by what, how fast, and how many at the most."""

    action: str
    choice: Choice
    by: str
    pause_s: float
    limit: int | None


async def carry_out(order: Order, consent: Consent, out: Output) -> None:
    """The whole command. Exit code 1 when a letter was refused for a reason that somebody can mend."""
    async with redis_client() as client:
        log = open_log(client, await stored_partitions(client))
        choice = order.choice
        if choice.subscriber is not None:
            choice = replace(choice, subscriber=await _subscriber(client, choice.subscriber))
        letters = await _chosen(log, choice, order.limit)
        if not out.as_json or consent.dry_run:
            _preview(letters, order.by, out)
        question = f"{order.action} {len(letters)} dead letter{'' if len(letters) == 1 else 's'}?"
        if not letters or not consent.given(question):
            if letters == [] and out.as_json and not consent.dry_run:
                out.record(_summary(order, letters, Report()))
            return
        report = await act(
            letters,
            _action(order.action, Redriver(log, lease_s=load_settings().lease), consent.actor),
            pause_s=order.pause_s,
            progress=lambda done: say(f"{done} of {len(letters)}"),
        )
        await operations.record(
            client, f"dead {order.action}", str(choice), report.done, report.refused.total(), consent.actor, utc_now()
        )
    _tell(order, letters, report, out)


async def _subscriber(client: Any, wanted: str) -> str:
    """Letters of removed subscribers still name their id."""
    return wanted if len(wanted) == 36 and wanted.count("-") == 4 else await subscriber_id(client, wanted)


async def _chosen(log: StreamLog, choice: Choice, limit: int | None) -> list[Letter]:
    """The open letters that are meant, oldest first; those that come meanwhile are not done again."""
    found: list[Letter] = []
    async for letter in dead_letters.each(log, choice.keeps):
        found.append(letter)
        if len(found) == limit:
            break
    return found


def _action(action: str, redriver: Redriver, actor: Actor) -> Callable[[Letter], Awaitable[Done]]:
    async def settle(letter: Letter) -> Done:
        if letter.email_id is None:
            return Done(Refusal.NOT_HELD)
        return await redriver.settle(letter.lead_id, letter.email_id, actor, sent=action == "settle as sent")

    if action == "redrive":
        return lambda letter: redriver.redrive(letter.partition, letter.entry_id, actor)
    if action == "drop":
        return lambda letter: redriver.drop(letter.partition, letter.entry_id, actor)
    return settle


def _preview(letters: list[Letter], by: str, out: Output) -> None:
    counts = Counter(BY[by](letter) for letter in letters)
    rows = [{by: key or None, "count": count} for key, count in counts.most_common()]
    out.table(rows, [Column(by, by.upper()), Column("count", "COUNT", right=True)], "no dead letter is meant")


def _summary(order: Order, letters: list[Letter], report: Report) -> dict[str, Any]:
    return {
        "action": order.action,
        "chosen": len(letters),
        "done": report.done,
        "done_by_others": report.by_others,
        "refused": {refusal.value: count for refusal, count in report.refused.items()},
    }


def _tell(order: Order, letters: list[Letter], report: Report, out: Output) -> None:
    if out.as_json:
        out.record(_summary(order, letters, report))
    else:
        say(f"{report.done} {_PAST[order.action]}")
        if report.by_others:
            say(f"{report.by_others} were done by somebody else meanwhile")
    for refusal, count in report.refused.items():
        say(f"{count} refused: {TEXT[refusal]}")
    if report.refused:
        raise Exit(FAILED)
