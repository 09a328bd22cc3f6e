"""`restore`: after Redis was restored from a backup, sends nothing twice. The recipe is in docs/operations.md."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import rich_click as click

from leadstream_cli.acting import Consent, consent_options
from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import say
from leadstream_cli.output import Output, output_options
from leadstream_events.errors import Conflict


@click.group()
def restore() -> None:
    """After a restore from a backup: set open mails aside, and send those that were not sent since."""


@restore.command()
@consent_options()
@output_options
def hold(consent: Consent, out: Output) -> None:
    """Set every open mail aside as held. Let spools be merged and fan-out finish first, and start no mailer before."""
    found = asyncio.run(_hold(consent))
    if found is not None:
        out.record(found)


async def _hold(consent: Consent) -> dict[str, Any] | None:
    from leadstream_events import restoring
    from leadstream_events.subscribers import utc_now

    async with redis_client() as client:
        partitions = await stored_partitions(client)
        left = await restoring.unread_by_fanout(client, partitions)
        if left:
            raise Conflict(
                f"fan-out has not finished {left} leads or more: let it finish (leadstream fanout), then repeat"
            )
        running = await restoring.mailers_at_work(client, partitions)
        if running:
            say(f"mailers that asked for work within {restoring.MAILER_ASKED_S} s: {running}; stop every mailer first")
        say(f"open mails: {await restoring.open_mails(client, partitions)}")
        if not consent.given("Set every open mail aside as held? No mailer may be running."):
            return None
        return {"held": sum([await restoring.hold(client, number, utc_now()) for number in range(partitions)])}


@restore.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@consent_options()
@output_options
def settle(file: Path, consent: Consent, out: Output) -> None:
    """End what was set aside: mails whose Message-ID stands in FILE were sent, the others are sent now.

    FILE is the mail server's log since the backup, or any text that holds the Message-IDs which it accepted.
    """
    found = asyncio.run(_settle(file.read_bytes(), consent))
    if found is not None:
        out.record(found)


async def _settle(raw: bytes, consent: Consent) -> dict[str, Any] | None:
    from leadstream_cli.story import open_log
    from leadstream_events import restoring
    from leadstream_events.redrive import Redriver
    from leadstream_events.redrive_rules import TEXT
    from leadstream_events.settings import load_settings

    accepted = restoring.message_ids(raw)
    say(f"{len(accepted)} Message-IDs of ours in the file")
    if not consent.given("Count these as sent, and send the others that were set aside?"):
        return None
    async with redis_client() as client:
        log = open_log(client, await stored_partitions(client))
        redriver = Redriver(log, lease_s=load_settings().lease)
        done = await restoring.settle(log, redriver, accepted, consent.actor)
    for refusal, count in done.refused.items():
        say(f"{count} not done: {TEXT[refusal]}")
    return {"sent": done.sent, "requested": done.again, "refused": sum(done.refused.values())}
