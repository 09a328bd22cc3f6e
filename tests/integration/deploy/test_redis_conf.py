"""The configuration that compose.yaml gives to Redis: a real server takes it, and it is what leadstream needs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.support import redis_server as servers
from tests.support.ports import free_port
from tests.support.waiting import eventually_sync

CONF = Path(__file__).parents[3] / "deploy/redis/leadstream.conf"
WANTED = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "maxmemory": str(512 * 1024 * 1024),
    "save": "",
}


@pytest.mark.parametrize("name", servers.SERVERS)
def test_a_server_takes_the_file_and_keeps_everything_through_sigkill(name: str, tmp_path: Path) -> None:
    binary, port = str(servers.binary_of(name)), free_port()
    command = [binary, str(CONF), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    with redis.Redis(port=port, protocol=2, decode_responses=True) as client:
        with running(command, client):
            assert {key: client.config_get(key)[key] for key in WANTED} == WANTED
            entry = client.xadd("log", {"a": "b"})
        with running(command, client):
            assert client.xrange("log") == [(entry, {"a": "b"})]


@contextmanager
def running(command: list[str], client: redis.Redis) -> Iterator[None]:
    """The server, killed with SIGKILL at the end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        eventually_sync(lambda: _answers(client), "the server to answer")
        yield
    finally:
        process.kill()
        process.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
