"""`keys`: who may call the API, and for what. A key is shown once, when it is made; the file holds its hash alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from leadstream_cli.connection import configured
from leadstream_cli.durations import duration
from leadstream_cli.errors_text import say
from leadstream_cli.output import Column, Output
from leadstream_events.errors import Conflict, LeadstreamError, NotFound

if TYPE_CHECKING:
    from leadstream_api.access.keys import Key

_SCOPES = ("ingest", "read", "read:pii", "admin")
_COLUMNS = (
    Column("name", "NAME"),
    Column("id", "ID"),
    Column("state", "STATE"),
    Column("scopes", "SCOPES"),
    Column("limit", "LIMIT", lambda value: str(value or "none")),
    Column("origins", "ORIGINS"),
    Column("created", "CREATED"),
    Column("expires", "EXPIRES", lambda value: str(value) if value else "never"),
)

_file_option = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The keys file, if not LEADSTREAM_API_KEYS_FILE.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def keys() -> None:
    """Make, show, revoke and rotate API keys. A running API follows the file at once."""


def _output(as_json: bool) -> Output:
    return Output(as_json, pii=True)  # names of keys are the operator's own


def _path(given: Path | None) -> Path:
    found = configured("api_keys_file")
    if given is None and found is None:
        raise LeadstreamError("no keys file: set LEADSTREAM_API_KEYS_FILE, or give --file")
    return given or Path(found.value if found else "")


def _now() -> datetime:
    from leadstream_events.subscribers import utc_now

    return utc_now().replace(microsecond=0)


def _row(key: Key, now: datetime) -> dict[str, Any]:
    return {
        "name": key.name,
        "id": key.id,
        "state": key.state(now),
        "scopes": sorted(map(str, key.scopes)),
        "limit": str(key.limit) if key.limit else None,
        "origins": list(key.origins),
        "created": key.created.isoformat(),
        "expires": key.expires.isoformat() if key.expires else None,
        "revoked": key.revoked.isoformat() if key.revoked else None,
    }


@keys.command("list")
@_file_option
@_json_option
def list_(file: Path | None, as_json: bool) -> None:
    """Show every key; none is shown in full, since only hashes are kept."""
    from leadstream_api.access.keyfile import read_keys

    now = _now()
    _output(as_json).table([_row(key, now) for key in read_keys(_path(file))], _COLUMNS, "there is no key")


@keys.command()
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(_SCOPES), required=True, help="Again for more.")
@click.option("--expires", "lifetime_s", callback=duration, help="After that long, such as 90d; else never.")
@click.option("--limit", help="Requests, such as 100/min; else no limit.")
@click.option("--origin", "origins", multiple=True, help="Makes it publishable: for web pages of this origin only.")
@click.option("--honeypot", help="A form field that has to stay empty.")
@_file_option
@_json_option
def add(
    name: str,
    scopes: tuple[str, ...],
    lifetime_s: float | None,
    limit: str | None,
    origins: tuple[str, ...],
    honeypot: str | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Make a key called NAME and print it, once and for all."""
    from leadstream_api.access.keyfile import change_keys
    from leadstream_api.access.keys import digest, make_key, new_secret

    now, path = _now(), _path(file)
    secret = new_secret(publishable=bool(origins))
    expires = now + timedelta(seconds=lifetime_s) if lifetime_s else None
    wanted = {
        "name": name,
        "sha256": digest(secret),
        "scopes": scopes,
        "created": now,
        "expires": expires,
        "limit": limit,
        "origins": origins,
        "honeypot": honeypot,
    }
    key = make_key(wanted)

    def change(old: tuple[Key, ...]) -> tuple[Key, ...]:
        if any(each.name == name and each.state(now) == "live" for each in old):
            raise Conflict(f"there is a live key called {name}: choose another name, or leadstream keys rotate {name}")
        return (*old, key)

    change_keys(path, change)
    _show_once(key, secret, path, as_json)


def _show_once(key: Key, secret: str, path: Path, as_json: bool) -> None:
    _output(as_json).record({"key": secret, **_row(key, key.created)})
    say(f"written to {path}; the key is shown this once and stored nowhere")


@keys.command()
@click.argument("name")
@click.option("--id", "key_id", help="Only the key with this id.")
@_yes_option
@_file_option
@_json_option
def revoke(name: str, key_id: str | None, yes: bool, file: Path | None, as_json: bool) -> None:
    """End every key called NAME, and every browser session that began with it, now."""
    from leadstream_api.access.keyfile import change_keys

    now, path = _now(), _path(file)
    ended: list[Key] = []

    def change(old: tuple[Key, ...]) -> tuple[Key, ...]:
        wanted = [k for k in old if k.name == name and key_id in (None, k.id) and k.state(now) == "live"]
        if not wanted:
            raise NotFound(f"there is no live key called {name}")
        ended.extend(key.model_copy(update={"revoked": now}) for key in wanted)
        by_digest = {key.sha256: key for key in ended}
        return tuple(by_digest.get(key.sha256, key) for key in old)

    if not yes:
        click.confirm(f"Revoke {name} now? Whoever uses it gets 401.", abort=True, err=True)
    change_keys(path, change)
    _output(as_json).table([_row(key, now) for key in ended], _COLUMNS, "")
    say(f"{len(ended)} revoked")


@keys.command()
@click.argument("name")
@click.option("--grace", "grace_s", default="24h", show_default=True, callback=duration, help="The old key's rest.")
@_yes_option
@_file_option
@_json_option
def rotate(name: str, grace_s: float, yes: bool, file: Path | None, as_json: bool) -> None:
    """Make a new key called NAME with the rights of the old one, which ends after the grace."""
    from leadstream_api.access.keyfile import change_keys
    from leadstream_api.access.keys import digest, new_secret, rotated

    now, path = _now(), _path(file)
    made: list[tuple[Key, str]] = []

    def change(old: tuple[Key, ...]) -> tuple[Key, ...]:
        live = [key for key in old if key.name == name and key.state(now) == "live"]
        if not live:
            raise NotFound(f"there is no live key called {name}")
        latest = max(live, key=lambda key: key.created)
        secret = new_secret(publishable=latest.publishable)
        new, ending = rotated(latest, digest(secret), now, timedelta(seconds=grace_s))
        made.append((new, secret))
        return (*(ending if key is latest else key for key in old), new)

    if not yes:
        click.confirm(f"Make a new key {name} and end the old one in {grace_s:g} s?", abort=True, err=True)
    change_keys(path, change)
    key, secret = made[0]
    _show_once(key, secret, path, as_json)
