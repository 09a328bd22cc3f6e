"""Fixtures for every test: real servers, settings that no environment reaches, and a raw client."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events.settings import PREFIX, Settings
from tests.support import redis_server as servers

# A shared machine stalls at times: how long one example takes says nothing.
hypothesis.settings.register_profile("usual", deadline=None, print_blob=True)
hypothesis.settings.register_profile("fuzz", parent=hypothesis.settings.get_profile("usual"), max_examples=5_000)
hypothesis.settings.load_profile("usual")

# A test run that was started in the background ignores SIGINT, and so would every process that its tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No LEADSTREAM_ variable and no leadstream.toml of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.setenv(PREFIX + "CONFIG", str(tmp_path / "absent.toml"))


@pytest.fixture(scope="session")
def running_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], servers.RedisServer]]:
    """Starts each kind of server once. A fixture with parameters alone would restart it whenever tests alternate."""
    running: dict[str, servers.RedisServer] = {}

    def get(name: str) -> servers.RedisServer:
        if name not in running or not running[name].server.alive():
            running[name] = servers.start(name, tmp_path_factory.mktemp(f"server-{name}"))
        return running[name]

    yield get
    for each in running.values():
        each.server.stop()


@pytest.fixture(scope="session", params=servers.SERVERS)
def redis_server(
    request: pytest.FixtureRequest, running_servers: Callable[[str], servers.RedisServer]
) -> servers.RedisServer:
    """One server per test process and per kind (`valkey`, `redis7`), with whatever the last test left in it."""
    return running_servers(request.param)


@pytest.fixture
def redis_url(redis_server: servers.RedisServer) -> str:
    """The address of an empty server."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture(params=servers.SERVERS)
def fresh_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[servers.ServerFactory]:
    """Makes private servers for tests that stop, kill, fill or reconfigure them.

    Takes the arguments of `EmbeddedServer.start`; without `data_dir` each call gets its own directory. Every server
    is stopped after the test.
    """
    binary = servers.binary_of(request.param)
    started: list[EmbeddedServer] = []

    def start(data_dir: Path | None = None, **options: Any) -> EmbeddedServer:
        directory = data_dir or tmp_path / f"server-{len(started)}"
        server = EmbeddedServer.start(directory, **{"binary": binary, "appendfsync": "no", **options})
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Settings on an empty server, without a rate limit; `settings.model_copy(update={...})` changes some."""
    return Settings(redis_url=redis_url, data_dir=tmp_path / "data", rate_limit=None)


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[Redis]:
    """A plain client that never retries, to look at what is stored."""
    client = Redis.from_url(redis_url, protocol=2, retry=Retry(NoBackoff(), 0))
    yield client
    await client.aclose()
