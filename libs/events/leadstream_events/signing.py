"""The secrets that sign tokens: from the settings, or else made once and kept in Redis for all processes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from leadstream_events import keys
from leadstream_events.errors import ConfigurationError
from leadstream_events.redis_client import Client
from leadstream_events.settings import PREFIX, Settings

_BYTES = 32
_SHORTEST = 16


def configured(settings: Settings) -> tuple[bytes, ...]:
    """The secrets of `SIGNING_SECRET_FILE`, one a line, the newest first; empty without the setting.

    Raises `ConfigurationError` when the file cannot be read or a line is too short to be a secret.
    """
    path: Path | None = settings.signing_secret_file
    if path is None:
        return ()
    name = f"{PREFIX}SIGNING_SECRET_FILE"
    try:
        lines = [line.strip() for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise ConfigurationError(f"{name}: {path} cannot be read: {error.strerror}") from None
    if not lines or any(len(line) < _SHORTEST for line in lines):
        raise ConfigurationError(f"{name}: {path} must hold secrets of {_SHORTEST} or more characters, one a line")
    return tuple(lines)


async def signing_secrets(client: Client, settings: Settings) -> Sequence[bytes]:
    """Returns the secrets in force, the one that signs first. Redis errors pass through.

    A secret that Redis keeps ends with its data: tokens in mails that went out before are worth nothing then.
    """
    own = configured(settings)
    if own:
        return own
    await client.hsetnx(keys.META, "signing_secret", secrets.token_hex(_BYTES))
    kept = await client.hget(keys.META, "signing_secret")
    return (kept,)
