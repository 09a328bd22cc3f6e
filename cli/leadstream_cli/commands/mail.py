"""`send-test` and `preview`: see a mail before strangers do."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.connection import redis_client, stored_partitions
from leadstream_cli.errors_text import FAILED, say
from leadstream_cli.output import Output, emit_json, output_options
from leadstream_events.errors import LeadstreamError, NotFound, Permanent

if TYPE_CHECKING:
    from leadstream_events.schemas.events import Kind
    from leadstream_events.schemas.lead import Lead
    from leadstream_events.settings import Settings
    from leadstream_mail.build import PreparedMail, RawMail

_SAMPLE_ID = "00000000-0000-7000-8000-000000000000"


def sample_lead() -> Lead:
    """A lead that nobody is."""
    from leadstream_events.schemas.lead import Lead

    return Lead.model_validate(
        {
            "full_name": "Dana Example",
            "email": "dana@example.com",
            "phone_number": "+1 202 555 0143",
            "city": "Springfield",
            "state": "CA",
            "zip_code": "12345",
            "tickets_past_year": 0,
            "is_homeowner": True,
            "vehicles": [{"year": 2021, "make": "Example", "model": "Wagon"}],
            "source": "sample",
        }
    )


def _prepare(
    settings: Settings, kind: Kind, lead_id: str, lead: Lead, now: datetime, written: str = "html"
) -> PreparedMail:
    from leadstream_events.schemas.subscriber import MailFormat
    from leadstream_mail.from_settings import make_builder

    return make_builder(settings).build(kind, lead_id, lead, now, MailFormat(written))


def _mail_to(settings: Settings, prepared: PreparedMail, address: str, name: str | None, now: datetime) -> RawMail:
    from leadstream_events.ids import message_id, new_id

    ident = message_id(new_id(), settings.mail_from)
    try:
        return prepared.for_recipient(name=name, address=address, message_id=ident, date=now)
    except Permanent as error:
        raise LeadstreamError(f"this address cannot be written safely: {error.cause}") from None


@click.command("send-test")
@click.argument("address")
@output_options
def send_test(address: str, out: Output) -> None:
    """Send a sample notification to ADDRESS through the configured SMTP server, and show its reply.

    No lead is stored and nothing is counted; the sending limit is not asked.
    """
    from leadstream_events.schemas.lead import normal_address

    try:
        address = normal_address(address)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="ADDRESS") from None
    sent = asyncio.run(_send_test(address))
    out.record(sent)
    if not sent["accepted"]:
        raise Exit(FAILED)


async def _send_test(address: str) -> dict[str, Any]:
    from pydantic import SecretStr

    from leadstream_cli.smtp_setting import smtp_url
    from leadstream_events.schemas.events import Kind
    from leadstream_events.setting_values import mask_url
    from leadstream_events.settings import load_settings
    from leadstream_mail.smtp.from_settings import make_pool
    from leadstream_mail.smtp.outcome import Accepted

    settings = load_settings()
    settings = settings.model_copy(update={"smtp_url": SecretStr(smtp_url(settings))})
    now = datetime.now(UTC)
    mail = _mail_to(settings, _prepare(settings, Kind.NOTIFICATION, _SAMPLE_ID, sample_lead(), now), address, None, now)
    server = mask_url(settings.smtp_url.get_secret_value())
    say(f"sending a sample notification through {server}")
    pool = make_pool(settings)
    try:
        outcome = await pool.send(settings.mail_from, mail, _yes)
    finally:
        await pool.close()
    row: dict[str, Any] = {"accepted": isinstance(outcome, Accepted), "server": server, "to": address}
    if isinstance(outcome, Accepted):
        return row | {"code": outcome.code, "reply": outcome.reply}
    failure = getattr(outcome, "failure", None)
    why = {name: getattr(failure, name, None) for name in ("phase", "cause", "code", "line")}
    return row | {"outcome": type(outcome).__name__.lower()} | {k: v for k, v in why.items() if v not in (None, "")}


async def _yes() -> bool:
    return True


@click.command()
@click.argument("kind", type=click.Choice(("notification", "welcome")))
@click.option("--lead-id", help="A stored lead; without it, a sample.")
@click.option(
    "--format",
    "written",
    type=click.Choice(("html", "text", "adf")),
    default="html",
    show_default=True,
    help="As for subscribers with this format.",
)
@click.option("--html", "form", flag_value="html", help="The HTML part.")
@click.option("--text", "form", flag_value="text", default="text", help="Subject and text part (the default).")
@click.option("--raw", "form", flag_value="raw", help="The whole mail, byte for byte, to a sample recipient.")
@click.option("--json", "as_json", is_flag=True, help="Subject, text and HTML as JSON.")
def preview(kind: str, lead_id: str | None, written: str, form: str, as_json: bool) -> None:
    """Show a mail as it would be sent, with a stored lead or a sample. It shows the lead's data in full."""
    from leadstream_events.schemas.events import Kind
    from leadstream_events.settings import load_settings

    if written != "html" and (kind == "welcome" or form == "html"):
        raise click.UsageError("--format is for notifications, and text and adf have no HTML part")
    settings = load_settings()
    chosen = Kind(kind)
    lead, at = asyncio.run(_stored_lead(lead_id)) if lead_id else (sample_lead(), datetime.now(UTC))
    prepared = _prepare(settings, chosen, lead_id or _SAMPLE_ID, lead, at, written)
    rendered = prepared.rendered
    if as_json:
        emit_json({"subject": rendered.subject, "text": rendered.text, "html": rendered.html})
    elif form == "raw":
        to = lead.email if chosen is Kind.WELCOME else "subscriber@example.com"
        sys.stdout.flush()
        sys.stdout.buffer.write(_mail_to(settings, prepared, to, None, at).data)
    elif form == "html":
        click.echo(rendered.html)
    else:
        click.echo(f"Subject: {rendered.subject}\n\n{rendered.text}")


async def _stored_lead(lead_id: str) -> tuple[Lead, datetime]:
    from leadstream_cli.revealing import vault_of
    from leadstream_events import keys
    from leadstream_events.ids import partition_of
    from leadstream_events.log import read_entry
    from leadstream_events.schemas.events import LeadReceived
    from leadstream_events.schemas.sealed import Locked, Sealed

    async with redis_client() as client:
        partition = partition_of(lead_id, await stored_partitions(client))
        found = await client.hget(keys.ledger(partition, lead_id), "lead")
        if not found:
            raise NotFound(f"no lead {lead_id[:64]!r}")
        stream, entry_id = keys.stream(partition, keys.LEADS), found.decode().partition(" ")[0]
        entries = await client.xrange(stream, entry_id, entry_id)
        opened = await vault_of(client).open([read_entry(stream, *entry) for entry in entries])
    event = opened[0].event if opened else None
    lead = event.data.lead if event and isinstance(event.data, LeadReceived) else None
    if isinstance(lead, Locked):
        raise LeadstreamError(f"LEADSTREAM_ENCRYPTION_KEYS_FILE lacks the key {lead.kek}, which this lead needs")
    if event is None or lead is None or isinstance(lead, Sealed):
        raise NotFound(f"the data of lead {lead_id} is gone: trimmed or erased")
    return lead, event.time
