"""`summary`: the operator's daily mail, looked at or sent now."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import FAILED, say
from leadstream_cli.output import emit_json
from leadstream_events.errors import ConfigurationError, LeadstreamError, Permanent


@click.command()
@click.option("--send", is_flag=True, help="Send it now to LEADSTREAM_SUMMARY_TO, beside the one of the day.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def summary(send: bool, as_json: bool) -> None:
    """Show the mail that the operator gets every day: what was sent since the last one, and what needs a look.

    It is sent by the mailer when LEADSTREAM_SUMMARY_TO is set. This command does not count as the one of the day; with
    --send the sending limit is not asked.
    """
    accepted = asyncio.run(_summary(send, as_json))
    if not accepted:
        raise Exit(FAILED)


async def _summary(send: bool, as_json: bool) -> bool:
    from leadstream_events.daily import day_due
    from leadstream_events.keys import SUMMARY
    from leadstream_events.settings import load_settings
    from leadstream_events.summary import gather
    from leadstream_mail.summary_mail import subject_of, text_of

    settings = load_settings()
    if send and settings.summary_to is None:
        raise ConfigurationError("LEADSTREAM_SUMMARY_TO is not set: to whom should it go?")
    now = datetime.now(UTC)
    async with redis_client() as client:
        found, _ = await gather(client, await stored_partitions(client), now)
        state = {name.decode(): value.decode() for name, value in (await client.hgetall(SUMMARY)).items()}
    if as_json:
        last = {name: state.get(name) for name in ("day", "phase", "why")}
        emit_json({**asdict(found), "last": last})
    else:
        click.echo(f"Subject: {subject_of(found, day_due(now, settings.summary_at))}\n\n{text_of(found)}", nl=False)
    say(_standing(settings.summary_to, settings.summary_at, state))
    return not send or await _send(settings, found, now)


def _standing(to: str | None, at: str, state: dict[str, str]) -> str:
    """How it stands with the summary of the day. The address is not shown."""
    if to is None:
        return "LEADSTREAM_SUMMARY_TO is not set: nobody gets it"
    if not state:
        return f"sent every day at {at} UTC; none was sent yet"
    how = {"done": "was sent", "unknown": "may have been sent", "failed": "was refused"}.get(
        state.get("phase", ""), "is not sent yet"
    )
    why = f" ({state['why']})" if state.get("why") else ""
    return f"sent every day at {at} UTC; that of {state.get('day')} {how}{why}"


async def _send(settings: Any, found: Any, now: datetime) -> bool:
    from pydantic import SecretStr

    from leadstream_cli.smtp_setting import smtp_url
    from leadstream_events.daily import day_due
    from leadstream_mail.smtp.from_settings import make_pool
    from leadstream_mail.smtp.outcome import Accepted
    from leadstream_mail.summary_mail import summary_mail

    settings = settings.model_copy(update={"smtp_url": SecretStr(smtp_url(settings))})
    day = day_due(now, settings.summary_at)
    try:
        mail = summary_mail(found, day, mail_from=settings.mail_from, to=settings.summary_to, now=now)
    except Permanent as error:
        raise LeadstreamError(f"LEADSTREAM_SUMMARY_TO cannot be written safely: {error.cause}") from None
    pool = make_pool(settings)
    try:
        outcome = await pool.send(settings.mail_from, mail, _yes)
    finally:
        await pool.close()
    if isinstance(outcome, Accepted):
        say(f"sent: the server answered {outcome.code}")
        return True
    failure = getattr(outcome, "failure", None)
    say(f"not sent: {type(outcome).__name__.lower()} {getattr(failure, 'phase', '')} {getattr(failure, 'cause', '')}")
    return False


async def _yes() -> bool:
    return True
