"""`lead`: hand leads in over HTTP, look at one, erase one."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.acting import Consent, consent_options
from leadstream_cli.connection import find_public_url
from leadstream_cli.errors_text import FAILED, say
from leadstream_cli.output import Column, Output, dump, emit_json, output_options
from leadstream_events.errors import LeadstreamError

_XML = (".adf", ".xml")
_IN_WORDS = {
    "erased": "erased",
    "already": "was erased before",
    "unknown": "nothing to erase: the lead is not there",
}
_ERASED = (
    Column("lead_id", "lead"),
    Column("spool", "this machine's spool", lambda value: _IN_WORDS.get(value, value)),
    Column("redis", "Redis", lambda value: _IN_WORDS.get(value, value)),
)


@click.group()
def lead() -> None:
    """Hand leads in, look at one, erase one."""


def read_leads(raw: bytes) -> list[bytes]:
    """The leads in a file: one JSON object, a JSON array of them, or one per line; or one ADF document.

    Not checked: the API does that.
    """
    text = raw.removeprefix(b"\xef\xbb\xbf").strip()
    if is_xml(text):
        return [text]
    try:
        whole = json.loads(text)
    except ValueError:
        return [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(whole, list):
        return [json.dumps(item, ensure_ascii=False).encode() for item in whole]
    return [text]


def is_xml(body: bytes) -> bool:
    """True for a document in XML: no JSON begins so."""
    return body.startswith(b"<")


@lead.command()
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@click.option("--url", help="The API.  [default: LEADSTREAM_PUBLIC_URL]")
@click.option("--key", envvar="LEADSTREAM_API_KEY", help="API key, if the API wants one (LEADSTREAM_API_KEY).")
@click.option("--idempotency-key", help="Makes repeating safe; with several leads, -1, -2 … is added.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per lead.")
def submit(file: Path, url: str | None, key: str | None, idempotency_key: str | None, as_json: bool) -> None:
    """Submit the leads in FILE (JSON, JSON lines, or an ADF document; - reads stdin) and show each answer.

    Exit code 1 when one of them was refused.
    """
    from leadstream_cli.http_client import ApiClient

    raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    leads = read_leads(raw)
    if not leads:
        raise LeadstreamError(f"{file}: holds no lead")
    if file.suffix.lower() in _XML and not is_xml(leads[0]):
        raise LeadstreamError(
            f"{file}: is no ADF document: it does not begin with <, as XML in UTF-8 does; name leads in JSON otherwise"
        )
    refused = 0
    with ApiClient(url or find_public_url().value, key=key) as api:
        for number, body in enumerate(leads, 1):
            own = f"{idempotency_key}-{number}" if idempotency_key and len(leads) > 1 else idempotency_key
            answer = api.submit(body, own, xml=is_xml(body))
            refused += not answer.ok
            if as_json:
                detail = answer.body if isinstance(answer.body, dict) else {"text": str(answer.body)}
                click.echo(dump({"line": number, "status": answer.status, **detail}))
            elif answer.ok:
                click.echo(f"{answer.body['lead_id']}  {answer.body['mode']}  {answer.body['durability']}")
            else:
                say(f"lead {number}: {answer.problem}")
    say(f"{len(leads) - refused} accepted, {refused} refused")
    if refused:
        raise Exit(FAILED)


@lead.command()
@click.argument("lead_id")
@consent_options()
@output_options
def erase(lead_id: str, consent: Consent, out: Output) -> None:
    """Erase the personal data of the lead with this LEAD_ID, in Redis and in the spool of this machine, for good.

    The reason is stored with the event, so it must not name the person. Erasing again is safe. Exit code 1 when it was
    stored in the clear: then there is no key to destroy, and it has to be trimmed away.
    """
    from leadstream_cli.erasing import erase_everywhere

    if not consent.given(f"erase the personal data of lead {lead_id}? No copy of it can be read after that"):
        return
    row = asyncio.run(erase_everywhere(lead_id.strip().lower(), consent.actor))
    out.record(row, _ERASED)


@lead.command()
@click.argument("lead_id")
@output_options
def show(lead_id: str, out: Output) -> None:
    """Show the lead with this LEAD_ID: its data and how far each of its mails is."""
    from leadstream_cli.story import lead_story

    story = asyncio.run(lead_story(lead_id))
    row: dict[str, Any] = story.row()
    if out.as_json:
        emit_json(out.clean(row))
        return
    from leadstream_cli.commands.trace import print_story

    if row["lead"] is not None:
        out.record(_flat(out.clean(row)["lead"]))
        click.echo()
    print_story(story, out, mails_only=True)


def _flat(value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: dump(item) if isinstance(item, dict | list) else item
        for name, item in value.items()
        if item not in (None, [], {})
    }
