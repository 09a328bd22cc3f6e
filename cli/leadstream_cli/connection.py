"""Finds the Redis that a command talks to, without the cost of the whole configuration.

Order: environment, `leadstream.toml`, a running `leadstream up` of this data directory, the default. Reading commands
start up to twice as fast this way; `tests/unit/cli` holds the default and the order equal to `Settings`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadstream_cli.runfile import RunFile, read_run_file
from leadstream_events.errors import ConfigurationError

if TYPE_CHECKING:
    from leadstream_events.redis_access import RedisAccess
    from leadstream_events.redis_client import Client

PREFIX = "LEADSTREAM_"
DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"
DEFAULT_PUBLIC_URL = "http://127.0.0.1:8000"
DEFAULT_SMTP_URL = "smtp://127.0.0.1:1025"
# Settings `redis_<name>` that go with `redis_url`.
REDIS_LOGIN = ("username", "password", "password_file", "ca_file", "cert_file", "key_file")
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """A setting and where it came from."""

    value: str
    source: str


def configured(name: str) -> Found | None:
    """A setting as environment or file give it, unchecked; `ConfigurationError` if the file cannot be read."""
    wanted = (PREFIX + name).upper()
    for variable, text in os.environ.items():
        if variable.upper() == wanted:
            return Found(text, "environment")
    path = config_file()
    value = _toml(path).get(name)
    return None if value is None else Found(str(value), str(path))


def config_file() -> Path:
    """Where `leadstream.toml` is looked for."""
    return Path(os.environ.get(PREFIX + "CONFIG", "leadstream.toml"))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {type(error).__name__}: {error}") from None


def running() -> RunFile | None:
    """The `leadstream up` that runs on this data directory, if any."""
    data_dir = configured("data_dir")
    return read_run_file(Path(data_dir.value if data_dir else "data"))


def _find(setting: str, of_up: Callable[[RunFile], str], default: str) -> Found:
    """The setting; without one, what a running `up` says; without that, the default."""
    found = configured(setting)
    if found:
        return found
    up = running()
    return Found(of_up(up), f"leadstream up, process {up.pid}") if up else Found(default, "default")


def find_redis_url() -> Found:
    """The Redis to talk to."""
    return _find("redis_url", lambda up: up.redis_url, DEFAULT_REDIS_URL)


def find_redis() -> RedisAccess:
    """How to reach it: the login in the settings is for the server in the settings, not for that of a running `up`."""
    from leadstream_events.redis_access import RedisAccess

    found = find_redis_url()
    return with_login(found.value) if configured("redis_url") or not running() else RedisAccess(found.value)


def with_login(url: str) -> RedisAccess:
    """An address together with the login and the TLS files in the settings."""
    from leadstream_events.redis_access import RedisAccess

    given = {name: configured(f"redis_{name}") for name in REDIS_LOGIN}
    texts = {name: found.value for name, found in given.items() if found}
    files = {name: Path(text) for name, text in texts.items() if name.endswith("_file")}
    return RedisAccess(url, texts.get("username"), texts.get("password"), **files)


def find_public_url() -> Found:
    """The API to talk to."""
    return _find("public_url", lambda up: up.api_url, DEFAULT_PUBLIC_URL)


def find_smtp_url() -> Found:
    """The SMTP server to talk to."""
    return _find("smtp_url", lambda up: up.smtp_url, DEFAULT_SMTP_URL)


def shown_redis_url() -> str:
    """The URL as errors show it: passwords masked, whatever else is wrong with it."""
    from leadstream_events.setting_values import mask_url

    try:
        return mask_url(find_redis_url().value)
    except (ConfigurationError, ValueError):
        return "LEADSTREAM_REDIS_URL"


@asynccontextmanager
async def redis_client(where: str | RedisAccess | None = None) -> AsyncIterator[Client]:
    """Yields a client of this server, or of the one that is found.

    A wrong URL is a `ConfigurationError`, a dead server shows at the first command.
    """
    from leadstream_events.redis_client import connect

    client = connect(where or find_redis(), timeout_s=_TIMEOUT_S)
    try:
        yield client
    finally:
        with suppress(Exception):
            await client.aclose()


async def stored_partitions(client: Client) -> int:
    """The number of partitions that this Redis was started with; 1 before the first start."""
    from leadstream_events.keys import META

    return int(await client.hget(META, "partitions") or 1)
