"""`doctor` about work that waits, on real streams; and `groups` about an archiver that has nothing to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from leadstream_cli.parts import PROJECTIONS
from leadstream_events import keys
from tests.integration.cli.conftest import Cli

EMAILS, OUTCOMES, LEADS = (keys.stream(0, name) for name in (keys.EMAILS, keys.OUTCOMES, keys.LEADS))


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url, protocol=2)


def finding(cli: Cli, check: str) -> dict[str, str]:
    (found,) = [row for row in cli("doctor", "--json", code=3).json if row["check"] == check]
    return dict(found)


def add(client: redis.Redis, stream: str, kind: str, count: int) -> None:
    for _ in range(count):
        client.xadd(stream, {"id": "1", "type": kind})


def test_mails_that_nobody_sends_are_a_problem_and_a_slow_mailer_needs_company(cli: Cli, client: redis.Redis) -> None:
    client.xgroup_create(EMAILS, keys.MAILER, "0", mkstream=True)
    add(client, EMAILS, "EmailRequested", 60)
    assert finding(cli, "mails")["mend"] == "start leadstream mailer"
    client.xreadgroup(keys.MAILER, "mailer-1", {EMAILS: ">"}, count=1)
    assert "none has ended" in finding(cli, "mails")["found"]
    add(client, OUTCOMES, "EmailSent", 6)
    add(client, OUTCOMES, "EmailDeferred", 6)
    found = finding(cli, "mails")
    assert found["found"] == "60 wait, 1 mailer alive; 1/s come, 0.1/s go"
    assert found["mend"] == "at this rate 8 more mailers; then the limit (rate 50/min) binds"


def test_nothing_that_waits_is_no_sign_of_life(cli: Cli, client: redis.Redis) -> None:
    assert finding(cli, "services")["found"] == "nobody is alive of fanout, mailer, projections"
    client.xgroup_create(EMAILS, keys.MAILER, "0", mkstream=True)
    client.xgroup_createconsumer(EMAILS, keys.MAILER, "mailer-1")
    said = finding(cli, "services")
    assert (said["verdict"], said["mend"]) == ("note", "start leadstream fanout, leadstream projections")
    for stream, group in ((LEADS, keys.FANOUT), (OUTCOMES, PROJECTIONS[0])):
        client.xgroup_create(stream, group, "0", mkstream=True)
    # As quiet services leave them on Redis 7.0, which notes no consumer that got nothing.
    quiet = finding(cli, "services")["verdict"]
    assert quiet == ("ok" if str(client.info()["redis_version"]).startswith("7.0") else "note")
    assert finding(cli, "mails")["verdict"] == finding(cli, "groups")["verdict"] == "ok"


def test_a_limit_without_room_is_named_and_nobody_is_told_to_start_mailers(
    cli: Cli, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADSTREAM_RATE_LIMIT", "3/min")
    client.xgroup_create(EMAILS, keys.MAILER, "0", mkstream=True)
    add(client, EMAILS, "EmailRequested", 6)
    client.xreadgroup(keys.MAILER, "mailer-1", {EMAILS: ">"}, count=1)
    seconds, micros = client.time()
    for number in range(3):
        client.zadd(keys.LIMITS + "*", {f"t{number}": seconds * 1000 + micros // 1000})
    found = finding(cli, "mails")
    assert "the limit binds (rate 3/min), they take 2m" in found["found"]
    assert "more mailers do not help" in found["mend"]


def test_a_group_whose_service_is_down_is_named_with_that_service(cli: Cli, client: redis.Redis) -> None:
    seconds, _ = client.time()
    client.xadd(LEADS, {"id": "1", "type": "LeadReceived"}, id=f"{(seconds - 300) * 1000}-0")
    client.xgroup_create(LEADS, keys.FANOUT, "0")
    found = finding(cli, "groups")
    assert found["verdict"] == "problem" and found["mend"] == "start leadstream fanout"
    assert found["found"].startswith("fanout on leads: 1 not read, the oldest for 5m")


@pytest.mark.parametrize(("retain", "lag"), [("off", None), ("1h", 1)])
def test_the_archive_is_not_behind_while_nothing_is_due(
    cli: Cli, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retain: str, lag: int | None
) -> None:
    monkeypatch.setenv("LEADSTREAM_ARCHIVE_URL", str(tmp_path / "archive"))
    monkeypatch.setenv("LEADSTREAM_RETAIN", retain)
    client.xgroup_create(LEADS, keys.ARCHIVER, "0", mkstream=True)
    add(client, LEADS, "LeadReceived", 1)
    (row,) = cli("groups", "--json").json
    assert row["lag"] == lag
    assert ("RETAIN is off" in row["note"]) is (lag is None)
    assert ("RETAIN is off" in cli("groups").out) is (lag is None)
