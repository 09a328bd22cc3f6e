"""User and password for Redis: from settings, by every kind of URL, and in no log, answer or process list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from leadstream_events.errors import Backpressure, RedisCause
from leadstream_events.redis_access import RedisAccess
from leadstream_events.redis_client import classify, connect
from tests.integration.cli.conftest import Cli
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.redis_server import ServerFactory
from tests.support.waiting import eventually_sync

PASSWORD = "p/:@ %ä-hunter2"


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server that knows the user `clerk`, and nobody without a password; `url` is by TCP."""

    url: str
    unix_url: str
    admin: redis.Redis

    def change_password(self, password: str) -> None:
        """Ends the user's connections too: by itself a new password touches new ones alone."""
        told(self.admin, "ACL", "SETUSER", "clerk", "resetpass", ">" + password)
        told(self.admin, "CLIENT", "KILL", "USER", "clerk")


def told(client: redis.Redis, *words: str) -> None:
    """redis-py has no types for this."""
    client.execute_command(*words)  # type: ignore[no-untyped-call]


@pytest.fixture
def guarded(fresh_server: ServerFactory) -> Iterator[Guarded]:
    port = free_port()
    server = fresh_server(extra=["--port", str(port)])
    with redis.Redis.from_url(server.url, protocol=2) as admin:
        told(admin, "CONFIG", "SET", "port", str(port))
        told(admin, "ACL", "SETUSER", "clerk", "on", ">" + PASSWORD, "~*", "&*", "+@all")
        told(admin, "ACL", "SETUSER", "default", "resetpass", ">" + "other")
        yield Guarded(f"redis://127.0.0.1:{port}/0", server.url, admin)


async def who(access: RedisAccess) -> str:
    client = connect(access, timeout_s=5.0)
    try:
        return str((await client.execute_command("ACL", "WHOAMI")).decode())
    finally:
        await client.aclose()


async def test_the_login_stands_in_the_settings_or_the_url_by_tcp_and_by_socket(
    guarded: Guarded, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    for url in (guarded.url, guarded.unix_url):
        assert await who(RedisAccess(url, "clerk", PASSWORD)) == "clerk"
        assert await who(RedisAccess(url, "clerk", password_file=file)) == "clerk"
        assert await who(RedisAccess(url, password="other")) == "default"
    scheme, _, rest = guarded.url.partition("://")
    assert await who(RedisAccess(f"{scheme}://clerk:p%2F%3A%40%20%25%C3%A4-hunter2@{rest}")) == "clerk"
    assert await who(RedisAccess(f"{scheme}://clerk@{rest}", password_file=file)) == "clerk"


async def test_a_new_connection_takes_the_password_that_the_file_holds_by_then(
    guarded: Guarded, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    client = connect(RedisAccess(guarded.url, "clerk", password_file=file), timeout_s=5.0)
    await client.ping()
    guarded.change_password("newer")
    file.write_text("newer")
    await client.connection_pool.disconnect()
    assert await client.ping()
    file.unlink()
    await client.connection_pool.disconnect()
    assert await client.ping(), "a file that is being replaced ends no connection"
    await client.aclose()


async def test_a_wrong_password_and_a_missing_right_are_told_apart(guarded: Guarded) -> None:
    client = connect(RedisAccess(guarded.url, "clerk", "wrong"), timeout_s=5.0)
    with pytest.raises(redis.RedisError) as refused:
        await client.ping()
    await client.aclose()
    assert (classify(refused.value) or Backpressure(RedisCause.OTHER)).cause is RedisCause.AUTH
    told(guarded.admin, "ACL", "SETUSER", "clerk", "-flushall")
    client = connect(RedisAccess(guarded.url, "clerk", PASSWORD), timeout_s=5.0)
    with pytest.raises(redis.RedisError) as refused:
        await client.flushall()
    await client.aclose()
    assert (classify(refused.value) or Backpressure(RedisCause.OTHER)).cause is RedisCause.NOPERM


def test_no_password_shows_in_answers_logs_or_the_process_list(
    guarded: Guarded, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    env = {
        "LEADSTREAM_REDIS_URL": guarded.url,
        "LEADSTREAM_REDIS_USERNAME": "clerk",
        "LEADSTREAM_REDIS_PASSWORD": PASSWORD,
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    said = [cli("config"), cli("config", "--json"), cli("doctor", code=None), cli("streams")]
    monkeypatch.setenv("LEADSTREAM_REDIS_PASSWORD", PASSWORD + "-wrong")
    said += [cli("streams", code=1), cli("doctor", code=3)]
    assert "check LEADSTREAM_REDIS_USERNAME" in said[-2].err
    env["LEADSTREAM_DATA_DIR"] = str(tmp_path / "data")
    with ServiceProcess(["fanout"], env=env, output=tmp_path / "fanout.log", ready_line="ready") as service:
        arguments = Path(f"/proc/{service.pid}/cmdline").read_bytes().decode()
        guarded.change_password("changed")
        eventually_sync(lambda: "cause=auth" in service.text(), "the service to be refused")
        seen = [service.text(), arguments]
    for text in [*seen, *(each.out + each.err for each in said)]:
        assert "hunter2" not in text


def test_up_refuses_a_login_for_a_server_of_its_own(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEADSTREAM_REDIS_URL")
    monkeypatch.setenv("LEADSTREAM_REDIS_PASSWORD", PASSWORD)
    said = cli("up", "--port", "0", code=2).err
    assert "LEADSTREAM_REDIS_PASSWORD is set, but LEADSTREAM_REDIS_URL is not" in said
