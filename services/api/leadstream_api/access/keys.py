"""API keys as values: what a line of the keys file says, and which key a secret belongs to. Pure; time is an argument.

A key is 32 random bytes, so its SHA-256 is stored plain: nobody can guess 2^256 inputs, and a slow hash (scrypt,
argon2) would only slow down every request. Whoever reads the file learns no key.

The file is JSON Lines, one key a line, `#` starts a comment line:
`{"name": "site", "sha256": "<64 hex digits>", "scopes": ["ingest"], "created": "2026-01-02T03:04:05Z",
"expires": null, "revoked": null, "limit": "100/min", "origins": ["https://www.example.com"], "honeypot": "website"}`
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    model_validator,
)
from pydantic import StringConstraints as Text

from leadstream_api.access.origins import origin_of
from leadstream_api.access.scopes import Scope, with_implied
from leadstream_events.errors import ConfigurationError
from leadstream_events.limits import Rate, parse_rate
from leadstream_events.schemas.lead import Instant

SECRET_PREFIX = "ls_"  # noqa: S105  -- what secret scanners look for
PUBLISHABLE_PREFIX = "ls_pub_"
_SECRET_BYTES = 32
_ID_CHARS = 16
_MOST_CHARS = 200


def _scope(value: object) -> object:
    try:
        return Scope(str(value))
    except ValueError:
        raise ValueError(f"must be one of {', '.join(Scope)}") from None


def _origin(value: str) -> str:
    found = origin_of(value)
    if found is None or found != value.lower().rstrip("/"):
        raise ValueError("must be an origin such as https://www.example.com, without a path")
    return found


def _limit(value: object) -> Rate | None:
    return None if value is None else parse_rate(value)


class Key(BaseModel):
    """One key, without its secret. `limit` counts requests; `origins` makes it publishable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Text(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    sha256: Annotated[str, Text(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[frozenset[Annotated[Scope, BeforeValidator(_scope)]], Field(min_length=1)]
    created: Instant
    expires: Instant | None = None
    revoked: Instant | None = None
    limit: Annotated[Rate | None, BeforeValidator(_limit)] = None
    origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = ()
    honeypot: Annotated[str, Text(min_length=1, max_length=64)] | None = None

    @model_validator(mode="after")
    def _publishable_keys_only_take_leads_in(self) -> Key:
        if self.origins and self.scopes != {Scope.INGEST}:
            raise ValueError("a key with origins stands in web pages for all to read: its only scope must be ingest")
        return self

    @property
    def id(self) -> str:
        """Names this key where its name is not enough (a rotation leaves two of a name for a while)."""
        return self.sha256[:_ID_CHARS]

    @property
    def publishable(self) -> bool:
        """True for a key that stands in web pages: it opens `POST /leads` from its origins and nothing else."""
        return bool(self.origins)

    @property
    def held_scopes(self) -> frozenset[Scope]:
        """The scopes, with the implied ones."""
        return with_implied(self.scopes)

    def state(self, now: datetime) -> str:
        """`live`, `revoked` or `expired`."""
        if self.revoked is not None and self.revoked <= now:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "live"

    @field_serializer("scopes")
    def _scopes_in_order(self, scopes: frozenset[Scope]) -> list[str]:
        return sorted(scopes)

    @field_serializer("limit")
    def _limit_as_written(self, limit: Rate | None) -> str | None:
        return None if limit is None else str(limit)

    def line(self) -> str:
        """The key as the file holds it."""
        return self.model_dump_json(exclude_defaults=True, exclude_none=True)


def new_secret(*, publishable: bool = False) -> str:
    """Returns a key as its owner sends it: shown once, stored nowhere."""
    return (PUBLISHABLE_PREFIX if publishable else SECRET_PREFIX) + secrets.token_urlsafe(_SECRET_BYTES)


def digest(secret: str) -> str:
    """SHA-256 in hex: what is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def make_key(values: Mapping[str, object]) -> Key:
    """Returns a new key; `ConfigurationError` names what is wrong with which value."""
    try:
        return Key.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(_faults(error)) from None


def rotated(key: Key, sha256: str, now: datetime, grace: timedelta) -> tuple[Key, Key]:
    """Returns the key's successor, with the same rights and length of life, and the key as it ends after `grace`."""
    lifetime = key.expires - key.created if key.expires else None
    new = key.model_copy(update={"sha256": sha256, "created": now, "expires": now + lifetime if lifetime else None})
    end = now + grace
    return new, key.model_copy(update={"expires": min(key.expires, end) if key.expires else end})


def parse_key(text: str, where: str) -> Key:
    """Reads one line; `ConfigurationError` says where, what is wrong and how to mend it, and repeats no value."""
    try:
        return Key.model_validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {_faults(error)}") from None


def _faults(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False)
    if not found[0]["loc"] and found[0]["type"] != "value_error":
        return "not a JSON object; mend the line or delete it, and make keys with: leadstream keys add"
    return "; ".join(_fault(item["loc"], item["msg"]) for item in found[:5])


def _fault(path: tuple[int | str, ...], message: str) -> str:
    field = ".".join(str(part)[:64] for part in path)
    text = message.removeprefix("Value error, ")
    return f"{field}: {text}" if field else text


def parse_keys(text: str, where: str) -> tuple[Key, ...]:
    """Reads the whole file. `ConfigurationError` names the line."""
    out: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key = parse_key(line, f"{where}, line {number}")
        if key.sha256 in out:
            raise ConfigurationError(f"{where}, line {number}: the same key stands in an earlier line; delete one")
        out[key.sha256] = key
    return tuple(out.values())


class Keyring:
    """Finds keys. Looking up a digest in a dict tells an attacker nothing: he cannot choose digests bit by bit."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.keys = tuple(keys)
        self._by_digest = {key.sha256: key for key in self.keys}
        self._by_id = {key.id: key for key in self.keys}

    def of_secret(self, secret: str) -> Key | None:
        """The key that this secret is, in whatever state it is."""
        if not 0 < len(secret) <= _MOST_CHARS:
            return None
        wanted = digest(secret)
        key = self._by_digest.get(wanted)
        return key if key is not None and hmac.compare_digest(key.sha256, wanted) else None

    def of_id(self, key_id: str) -> Key | None:
        """The key with this id, in whatever state it is."""
        return self._by_id.get(key_id)

    def publishes_to(self, origin: str, now: datetime) -> bool:
        """True when a live publishable key is meant for pages of this origin."""
        return any(origin in key.origins and key.state(now) == "live" for key in self.keys)
