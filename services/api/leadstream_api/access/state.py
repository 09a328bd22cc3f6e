"""What access control works with, made once per app: the keys in force, sessions and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from litestar.connection import ASGIConnection

from leadstream_api.access.keyfile import KeyFile
from leadstream_api.access.origins import origin_of
from leadstream_api.access.rates import Limiter
from leadstream_api.access.sessions import EndedSessions, Signer, load_secret
from leadstream_api.access.turnstile import Turnstile, open_turnstile
from leadstream_events.settings import Settings

Connection = ASGIConnection[Any, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Access:
    """`keys` is None without an API_KEYS_FILE: then this machine alone gets in, and may do everything."""

    keys: KeyFile | None
    signer: Signer
    ended: EndedSessions
    limiter: Limiter
    turnstile: Turnstile | None
    own_origin: str | None
    secure: bool

    @property
    def cookie_name(self) -> str:
        """Under https browsers hold the prefix `__Host-` to: Secure, no Domain, Path=/ (RFC 6265bis)."""
        return "__Host-leadstream_session" if self.secure else "leadstream_session"


def open_access(settings: Settings) -> Access:
    """Reads keys and secrets; raises `ConfigurationError` when one is wrong. Ours is made only where keys are."""
    path = settings.api_keys_file
    own = origin_of(settings.public_url)
    return Access(
        keys=KeyFile(path) if path else None,
        signer=Signer(load_secret(settings.data_dir) if path else b""),
        ended=EndedSessions(settings.data_dir),
        limiter=Limiter(settings.append_deadline),
        turnstile=open_turnstile(settings),
        own_origin=own,
        secure=bool(own and own.startswith("https:")),
    )


def access_of(connection: Connection) -> Access:
    """The access control of the app that got this request."""
    return cast(Access, connection.app.state["access"])  # `.access` is looked for in the class first
