"""`dkim`: keys that sign mails, and the DNS records that publish them."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from leadstream_cli.connection import configured
from leadstream_cli.errors_text import say
from leadstream_cli.output import emit_json
from leadstream_events.errors import Conflict, LeadstreamError
from leadstream_events.secret_files import create_secret


@click.group()
def dkim() -> None:
    """Make keys that sign mails (RFC 6376)."""


@dkim.command("new-key")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--selector", required=True, help="Its name in DNS, such as 2026a: <selector>._domainkey.<domain>.")
@click.option("--domain", help="The domain that signs, if not that of LEADSTREAM_MAIL_FROM.")
@click.option("--ed25519", is_flag=True, help="An Ed25519 key (RFC 8463), for a second signature beside RSA.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
def new_key(file: Path, selector: str, domain: str | None, ed25519: bool, as_json: bool) -> None:
    """Make a key in FILE, and print the DNS record to publish. An existing file is left alone."""
    from leadstream_mail.dkim_keys import is_selector, new_key, pem_of, record_of, zone_line

    if not is_selector(selector):
        raise click.BadParameter("must be a name as in DNS, such as 2026a", param_hint="--selector")
    found = configured("mail_from")
    domain = domain or (found.value if found else "").rpartition("@")[2]
    if not domain:
        raise LeadstreamError("whose mails does it sign? set LEADSTREAM_MAIL_FROM, or give --domain")
    key = new_key(ed25519=ed25519)
    try:
        create_secret(file, pem_of(key).decode())
    except FileExistsError:
        raise Conflict(f"{file} is there already; choose another name") from None
    except OSError as error:
        raise LeadstreamError(f"{file} cannot be written: {error.strerror}") from None
    record = record_of(key)
    if as_json:
        emit_json({"name": f"{selector}._domainkey.{domain}", "type": "TXT", "value": record, "file": str(file)})
    else:
        click.echo(zone_line(selector, domain, record))
    name = "DKIM_ED25519" if ed25519 else "DKIM"
    say(f"publish this record, then set LEADSTREAM_{name}_SELECTOR={selector} and LEADSTREAM_{name}_KEY_FILE={file}")
    say("leadstream doctor --dns checks that it is published")
