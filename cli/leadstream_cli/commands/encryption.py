"""`encryption`: the key-encryption keys that wrap the keys of leads; make one, rotate, see what is in use."""

from __future__ import annotations

import asyncio
import base64
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from leadstream_cli.acting import Consent, consent_options
from leadstream_cli.connection import configured, redis_client, stored_partitions
from leadstream_cli.errors_text import FAILED, say
from leadstream_cli.output import Output, output_options
from leadstream_events.errors import ConfigurationError
from leadstream_events.secret_files import read_text, replace_secret

if TYPE_CHECKING:
    from leadstream_events.vault import KeyFile

_NAME = "LEADSTREAM_ENCRYPTION_KEYS_FILE"


@click.group()
def encryption() -> None:
    """The keys that leads are sealed under: make and rotate key-encryption keys, see what is in use."""


def _configured_file() -> Path | None:
    found = configured("encryption_keys_file")
    return Path(found.value) if found else None


def _key_file() -> KeyFile:
    from leadstream_events.vault import KeyFile

    path = _configured_file()
    if path is None:
        raise ConfigurationError(f"{_NAME} is not set: leadstream encryption new-key FILE makes a file")
    return KeyFile(path)


@encryption.command("new-key")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--id", "name", help="The id of the new key.  [default: k and the time]")
@output_options
def new_key(file: Path | None, name: str | None, out: Output) -> None:
    """Put a new key-encryption key in front of those in FILE, or in LEADSTREAM_ENCRYPTION_KEYS_FILE.

    New leads' keys are wrapped by it at once; `encryption rotate` has it wrap the others. Every service needs the file;
    keep a copy of it apart from the backups of Redis, for without it nobody reads a lead.
    """
    path = file or _configured_file()
    if path is None:
        raise click.UsageError(f"name a FILE, or set {_NAME}")
    kek = name or f"k{datetime.now(UTC):%Y%m%d%H%M%S}"
    before = _checked(path, kek)
    line = f"{kek} {base64.b64encode(secrets.token_bytes(32)).decode()}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_secret(path, line + before)
    out.record({"id": kek, "file": str(path)})
    if _configured_file() != path:
        say(f"set {_NAME}={path} for every service")


def _checked(path: Path, kek: str) -> str:
    """What the file holds, which must go on being readable with the new line before it."""
    from leadstream_events.sealing import parse_keys

    before = read_text(path, mend="move it away, or put back what it held") if path.exists() else ""
    try:
        parse_keys(f"{kek} {base64.b64encode(bytes(32)).decode()}\n{before}")
    except ValueError as error:
        raise ConfigurationError(f"{path}: with a new key in front, {error}") from None
    return before


@encryption.command()
@consent_options()
@output_options
def rotate(consent: Consent, out: Output) -> None:
    """Wrap the keys of all leads by the newest key-encryption key. Services go on; cut off, it is run again.

    Exit code 1 when some stay wrapped by a key that the file lacks.
    """
    ring = _key_file().ring()
    if not consent.given(f"wrap the keys of all leads by {ring.newest}?"):
        return
    row = asyncio.run(_rotate(consent))
    out.record(row)
    for kek, count in row["missing"].items():
        say(f"{count} keys stay wrapped by {kek}, which is not in the file: put it back, then rotate again")
    if row["missing"]:
        raise Exit(FAILED)
    say("keys that wrap nothing any more may go from the file once no backup and no spool needs them")


async def _rotate(consent: Consent) -> dict[str, Any]:
    from leadstream_cli.progress import progress
    from leadstream_events import keys
    from leadstream_events.operations import record
    from leadstream_events.rotation import Rotated, rotate
    from leadstream_events.subscribers import utc_now

    ring, done = _key_file().ring(), Rotated()
    async with redis_client() as client:
        partitions = await stored_partitions(client)
        total = sum([int(await client.hlen(keys.lead_keys(number))) for number in range(partitions)])
        with progress(total, "rotate") as step:
            seen = 0
            async for done in rotate(client, partitions, ring):
                now = done.done + done.current + done.missing.total()
                step(now - seen)
                seen = now
        if done.done:
            refused = done.missing.total()
            await record(client, "rotate keys", ring.newest, done.done, refused, consent.actor, utc_now())
    return {"key": ring.newest, "rewrapped": done.done, "left_alone": done.current, "missing": dict(done.missing)}


@encryption.command()
@output_options
def status(out: Output) -> None:
    """Show which key-encryption keys wrap how many leads' keys, and how many leads were erased."""
    path = _configured_file()
    ring = _key_file().ring() if path else None
    found = asyncio.run(_wrapped())
    setting = configured("encryption")
    out.record(
        {
            "encryption": setting.value if setting else "on",
            "keys_file": str(path) if path else None,
            "newest": ring.newest if ring else None,
            "wrapped_by": {("nothing" if kek == "-" else kek): count for kek, count in sorted(found.by.items())},
            "not_in_the_file": sorted(kek for kek in found.by if kek != "-" and (ring is None or kek not in ring.keys)),
            "erased": found.erased,
        }
    )


async def _wrapped() -> Any:
    from leadstream_events.rotation import wrapped

    async with redis_client() as client:
        return await wrapped(client, await stored_partitions(client))
