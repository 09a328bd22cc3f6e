"""What a service has no business with, Redis refuses it; passwords are replaced while everybody works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from leadstream_cli.main import run
from leadstream_cli.redis_acl import ADMIN, PREFIX, write_users
from leadstream_cli.redis_rights import USERS
from leadstream_events import keys
from leadstream_events.errors import Backpressure, RedisCause
from leadstream_events.redis_client import classify
from tests.support.ports import free_port
from tests.support.redis_server import SERVERS, binary_of
from tests.support.ruled_house import RuledServer, tell

LEADS, EMAILS, OUTCOMES, DEAD = (keys.stream(0, name) for name in keys.STREAMS)


BREAK_INS: dict[str, tuple[tuple[str, ...], ...]] = {
    "api": (
        ("XTRIM", LEADS, "MAXLEN", "0"), ("DEL", LEADS), ("XACK", EMAILS, "mailer", "1-1"),
        ("HDEL", keys.lead_keys(0), "x"), ("XGROUP", "DESTROY", EMAILS, "mailer"),
        ("HINCRBY", keys.projection(0, "totals", 1), "sent", "1"),
    ),
    "fanout": (
        ("XTRIM", EMAILS, "MAXLEN", "0"), ("XADD", LEADS, "*", "a", "b"), ("XADD", OUTCOMES, "*", "a", "b"),
        ("HSET", keys.lead_keys(0), "x", "y"), ("HSET", keys.SUBSCRIBER_STATE, "x", "y"),
        ("ZADD", keys.LIMITS + "all", "1", "x"),
    ),
    "mailer": (
        ("XADD", EMAILS, "*", "a", "b"), ("XADD", LEADS, "*", "a", "b"), ("HSET", keys.lead_keys(0), "x", "y"),
        ("HGETALL", keys.lead_keys(0)), ("XTRIM", OUTCOMES, "MAXLEN", "0"), ("HSET", keys.SUPPRESSIONS, "x", "y"),
        ("HDEL", keys.SUPPRESSIONS, "x"), ("HINCRBY", keys.projection(0, "totals", 1), "sent", "1"),
        ("XREADGROUP", "GROUP", "fanout", "me", "STREAMS", LEADS, ">"),
    ),
    "projections": (
        ("XADD", EMAILS, "*", "a", "b"), ("XADD", OUTCOMES, "*", "a", "b"), ("XADD", LEADS, "*", "a", "b"),
        ("HGET", keys.lead_keys(0), "x"), ("HVALS", keys.SUBSCRIBER_STATE), ("HSET", keys.ledger(0, "x"), "a", "b"),
        ("ZADD", keys.due(0, "mailer"), "1", "x"),
    ),
    "archiver": (
        ("XADD", DEAD, "*", "a", "b"), ("HGET", keys.lead_keys(0), "x"), ("HSET", keys.ledger(0, "x"), "a", "b"),
        ("XREADGROUP", "GROUP", "mailer", "me", "STREAMS", EMAILS, ">"), ("HVALS", keys.SUBSCRIBER_STATE),
    ),
    "bounces": (
        ("XADD", EMAILS, "*", "a", "b"), ("XTRIM", OUTCOMES, "MAXLEN", "0"), ("HDEL", keys.SUPPRESSIONS, "x"),
        ("HSET", keys.lead_keys(0), "x", "y"), ("HSET", keys.SUBSCRIBER_STATE, "x", "y"),
        ("XREADGROUP", "GROUP", "mailer", "me", "STREAMS", EMAILS, ">"),
    ),
    "serve": (
        ("XGROUP", "DESTROY", EMAILS, "mailer"), ("DEL", keys.SUBSCRIBER_STATE), ("HDEL", keys.ledger(0, "x"), "a"),
        ("SET", "another:program", "x"),
    ),
    "cli": (("SET", "another:program", "x"), ("GET", "another:program")),
}  # fmt: skip
ALWAYS = (
    ("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "SET", "maxmemory", "1"), ("KEYS", "*"), ("SHUTDOWN", "NOSAVE"),
    ("ACL", "SETUSER", "me", "on"), ("ACL", "GETUSER", PREFIX + "admin"), ("CLIENT", "LIST"),
    ("MONITOR",), ("REPLICAOF", "NO", "ONE"), ("SCRIPT", "FLUSH"), ("DEL", LEADS), ("GET", "another:program"),
    ("FUNCTION", "LOAD", "#!lua name=x"), ("PUBLISH", "x", "y"),
)  # fmt: skip


@pytest.fixture
def ruled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RuledServer]:
    made = RuledServer(binary_of(request.param), tmp_path, port=free_port())
    yield made
    made.server.stop()


@pytest.mark.parametrize("ruled", SERVERS, indirect=True)
def test_redis_refuses_what_a_service_has_no_business_with(ruled: RuledServer) -> None:
    assert BREAK_INS.keys() == USERS.keys()
    for name, attempts in BREAK_INS.items():
        with ruled.client(name) as client:
            assert client.ping()
            for attempt in (*ALWAYS, *attempts):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    pytest.fail(f"{name}: {attempt} gave {tell(client, *attempt)!r}")
                if attempt[0] not in ("MONITOR", "SCRIPT", "ACL"):
                    with pytest.raises(
                        redis.RedisError, match=r"permission|not allowed|user executing the script can't"
                    ):
                        script = "return redis.call(unpack(ARGV))"
                        tell(client, "EVAL", script, "0", *attempt)
    with redis.Redis.from_url(ruled.server.url, protocol=2) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.ping()


@pytest.mark.parametrize("ruled", SERVERS, indirect=True)
def test_a_password_is_replaced_while_everybody_works(ruled: RuledServer) -> None:
    with ruled.client("mailer") as before, ruled.client(ADMIN) as admin:
        before.ping()
        write_users(ruled.users, PREFIX, frozenset({"mailer"}))
        tell(admin, "ACL", "LOAD")
        old = before.connection_pool.connection_kwargs["password"]
        for password in (old, ruled.client("mailer").connection_pool.connection_kwargs["password"]):
            with redis.Redis.from_url(
                ruled.server.url, username=PREFIX + "mailer", password=password, protocol=2
            ) as client:
                assert client.ping()
        write_users(ruled.users, PREFIX, frozenset())
        tell(admin, "ACL", "LOAD")
        with ruled.client("mailer") as after:
            assert after.ping()
        before.connection_pool.disconnect()
        with pytest.raises(redis.AuthenticationError):
            before.ping()


@pytest.mark.parametrize("ruled", SERVERS, indirect=True)
def test_a_script_may_do_what_its_caller_may_and_nothing_else(ruled: RuledServer) -> None:
    """So `commit.lua`, which runs whatever command it is given, cannot be borrowed."""
    with ruled.client("mailer") as client:
        sha = tell(client, "SCRIPT", "LOAD", "return redis.call(ARGV[1], KEYS[1], '*', 'a', 'b')").decode()
        assert tell(client, "EVALSHA", sha, "1", OUTCOMES, "XADD")
        with pytest.raises(redis.RedisError) as refused:
            tell(client, "EVALSHA", sha, "1", LEADS, "XADD")
    assert (classify(refused.value) or Backpressure(RedisCause.OTHER)).cause is RedisCause.NOPERM
    with ruled.client(ADMIN) as client:
        assert client.xlen(LEADS) == 0


@pytest.mark.parametrize("ruled", SERVERS, indirect=True)
def test_doctor_tells_rights_of_another_version(
    ruled: RuledServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told() -> str:
        capsys.readouterr()
        run(["doctor"])
        return next(line for line in capsys.readouterr().out.splitlines() if "redis user" in line)

    monkeypatch.setenv("LEADSTREAM_REDIS_URL", ruled.server.url)
    for name, value in ruled.login("cli").items():
        monkeypatch.setenv(name, value)
    assert told().split()[:4] == ["ok", "redis", "user", PREFIX + "cli"]
    with ruled.client(ADMIN) as admin:
        tell(admin, "ACL", "SETUSER", PREFIX + "mailer", "clearselectors")
        assert f"rights of another version: {PREFIX}mailer" in told()
        tell(admin, "ACL", "SETUSER", "default", "on", "nopass", "~*", "+@all")
    for name in ("LEADSTREAM_REDIS_USERNAME", "LEADSTREAM_REDIS_PASSWORD_FILE"):
        monkeypatch.delenv(name)
    assert "without a password" in told()
