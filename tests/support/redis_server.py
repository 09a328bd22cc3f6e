"""Real servers for tests: the bundled Valkey and, beside it, Redis 7 as the lower bound.

Every server belongs to one test process, listens on its own unix socket and dies with that process.
`flush` refuses to empty a server that is not ours.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from leadstream_cli.embedded import EmbeddedServer, bundled_binary

VALKEY = "valkey"
REDIS7 = "redis7"
SERVERS = tuple(
    name.strip() for name in os.environ.get("LEADSTREAM_TEST_SERVERS", f"{VALKEY},{REDIS7}").split(",") if name.strip()
)
# Read at import: the tests themselves run without any LEADSTREAM_ variable.
_REDIS7_REQUIRED = os.environ.get("LEADSTREAM_REQUIRE_REDIS7") == "1"

ServerFactory = Callable[..., EmbeddedServer]


def binary_of(name: str) -> Path:
    """The binary of a server by its test name; skips the test, or fails it where the server is required."""
    if name == VALKEY:
        return bundled_binary()
    if name != REDIS7:
        pytest.fail(f"LEADSTREAM_TEST_SERVERS names {name!r}; it knows {VALKEY} and {REDIS7}")
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    reason = "no redis-server in PATH (Debian: apt-get install redis-server)"
    if _REDIS7_REQUIRED:
        pytest.fail(f"LEADSTREAM_REQUIRE_REDIS7=1, but there is {reason}")
    pytest.skip(reason)


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running server of one kind, shared by the tests of one process."""

    name: str
    server: EmbeddedServer

    @property
    def url(self) -> str:
        """Its address."""
        return self.server.url

    def flush(self) -> None:
        """Empties data, scripts and configuration changes after making sure that the server is ours."""
        with redis.Redis.from_url(self.url, protocol=2) as client:
            info = client.info("server")
            assert info["process_id"] == self.server.pid, "this server is not ours: nothing is flushed"
            client.flushall()
            client.script_flush()
            client.config_set("maxmemory", "0")


def start(name: str, data_dir: Path, *, appendfsync: str = "no", extra: Sequence[str] = ()) -> RedisServer:
    """Starts a server of a kind; `appendfsync no` because most tests never pull the plug."""
    return RedisServer(
        name, EmbeddedServer.start(data_dir, binary=binary_of(name), appendfsync=appendfsync, extra=extra)
    )
