"""The backlog of a group is counted, never believed: cases 102 and 103 on every supported server."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis import Redis

from leadstream_cli import queries
from tests.integration.cli.conftest import Cli

LEADS = "leadstream:{0}:leads"


@pytest.fixture
def client(redis_url: str) -> Any:
    with Redis.from_url(redis_url, protocol=2) as made:
        yield made


def add(client: Any, count: int) -> None:
    for number in range(1, count + 1):
        client.xadd(LEADS, {"id": str(number)}, id=f"{number}-0")


def group(cli: Cli) -> dict[str, Any]:
    (found,) = cli("groups", "--json").json
    assert isinstance(found, dict)
    return found


def test_a_lag_that_the_server_does_not_know_is_counted(cli: Cli, client: Any) -> None:
    add(client, 4)
    client.xgroup_create(LEADS, "g", "0")
    client.xreadgroup("g", "c", {LEADS: ">"}, count=2)
    client.xdel(LEADS, "3-0")
    found = group(cli)
    assert (found["lag"], found["lag_exact"]) == (1, True)
    if found["server_lag"] is None:
        assert "unknown" in cli("groups").out


def test_a_group_that_has_read_everything_has_no_lag_after_a_trim(cli: Cli, client: Any) -> None:
    add(client, 5)
    client.xgroup_create(LEADS, "g", "0")
    client.xreadgroup("g", "c", {LEADS: ">"}, count=3)
    client.xtrim(LEADS, maxlen=1, approximate=False)
    client.xreadgroup("g", "c", {LEADS: ">"})
    found = group(cli)
    assert (found["lag"], found["lag_exact"], found["lag_age_s"]) == (0, True, None)
    assert "LAG BY SERVER" in cli("groups").out


def test_a_group_behind_the_trim_lags_by_what_is_left(cli: Cli, client: Any) -> None:
    add(client, 5)
    client.xgroup_create(LEADS, "g", "0")
    client.xreadgroup("g", "c", {LEADS: ">"}, count=1)
    client.xtrim(LEADS, maxlen=2, approximate=False)
    assert group(cli)["lag"] == 2


def test_the_age_of_a_lag_is_that_of_the_oldest_undelivered_entry(cli: Cli, client: Any) -> None:
    now_ms = int(time.time() * 1000)
    client.xadd(LEADS, {"id": "1"}, id=f"{now_ms - 90_000}-0")
    client.xadd(LEADS, {"id": "2"}, id=f"{now_ms - 60_000}-0")
    client.xgroup_create(LEADS, "g", f"{now_ms - 90_000}-0")
    found = group(cli)
    assert found["lag"] == 1
    assert 55 < found["lag_age_s"] < 90


def test_a_huge_lag_is_said_to_be_at_least_that_much(cli: Cli, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "COUNT_UP_TO", 10)
    monkeypatch.setattr(queries, "_PAGE", 5)
    add(client, 30)
    client.xgroup_create(LEADS, "g", "1-0")
    found = group(cli)
    assert (found["lag"], found["lag_exact"]) == (10, False)
    assert "10+" in cli("groups").out
