"""`seek`, `claim` and `trim`: said before, refused where something would be lost or doubled, recorded with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from leadstream_events import keys
from leadstream_events.groups import working_on
from leadstream_events.ids import new_id
from tests.integration.cli.conftest import Cli

LEADS, EMAILS, OUTCOMES = (keys.stream(0, name) for name in (keys.LEADS, keys.EMAILS, keys.OUTCOMES))
DEAD = keys.stream(0, keys.DEAD)


@pytest.fixture
def client(redis_url: str) -> Any:
    with Redis.from_url(redis_url, protocol=2, decode_responses=True) as made:
        yield made


def add(client: Any, count: int, stream: str = LEADS, **data: Any) -> None:
    for number in range(1, count + 1):
        client.xadd(stream, {"id": new_id(), "type": "LeadReceived", "data": json.dumps(data)}, id=f"{number * 1000}-0")


def at_end(client: Any, stream: str, *groups: str) -> None:
    for group in groups:
        client.xgroup_create(stream, group, "$", mkstream=True)


def position(client: Any, group: str = keys.FANOUT, stream: str = LEADS) -> str:
    (found,) = [item["last-delivered-id"] for item in client.xinfo_groups(stream) if item["name"] == group]
    return str(found)


@pytest.mark.parametrize(
    ("to", "after", "again"),
    [
        ("beginning", "0-0", 5),
        ("3000-0", f"2999-{2**64 - 1}", 3),
        ("1970-01-01T00:00:04Z", f"3999-{2**64 - 1}", 2),
        ("2000-7", "2000-6", 3),
    ],
)
def test_a_seek_goes_where_the_entry_that_is_named_comes_next(
    cli: Cli, client: Any, to: str, after: str, again: int
) -> None:
    add(client, 5)
    at_end(client, LEADS, keys.FANOUT)
    (row,) = cli("seek", "fanout", "--to", to, "--dry-run", "--json").json
    assert (row["before"], row["after"], row["again"], row["passed_over"]) == ("5000-0", after, again, 0)
    assert position(client) == "5000-0"
    (row,) = cli("seek", "fanout", "--to", to, "--yes", "--json").json
    assert row["now"] == position(client) == after
    assert client.hget(keys.checkpoints(0), f"fanout {LEADS}") == after
    assert len(client.xreadgroup(keys.FANOUT, "c", {LEADS: ">"})[0][1]) == again


def test_a_seek_forward_says_what_will_never_be_done(cli: Cli, client: Any) -> None:
    add(client, 5)
    client.xgroup_create(LEADS, keys.FANOUT, "0")
    result = cli("seek", "fanout", "--to", "4000-0", "--yes")
    assert "PASSED OVER entries will never be delivered to fanout" in result.err
    assert position(client) == f"3999-{2**64 - 1}"


def test_a_seek_is_refused_while_a_consumer_lives_unless_forced(cli: Cli, client: Any) -> None:
    add(client, 2)
    at_end(client, LEADS, keys.FANOUT)
    client.xgroup_createconsumer(LEADS, keys.FANOUT, "fanout-host-1")
    result = cli("seek", "fanout", "--to", "beginning", "--yes", code=1)
    assert "fanout-host-1 would go on" in result.err
    assert position(client) == "2000-0"
    cli("seek", "fanout", "--to", "beginning", "--yes", "--force")
    assert position(client) == "0-0"
    (told,) = cli("operations", "--json").json
    assert told["data"]["forced"] is True


@pytest.mark.parametrize("group", ["projections", "projections.totals"])
def test_projections_are_never_moved_for_they_would_count_twice(cli: Cli, group: str) -> None:
    assert "projections rebuild" in cli("seek", group, "--to", "beginning", "--yes", code=1).err


def test_a_seek_says_what_is_wrong_with_its_words(cli: Cli, client: Any) -> None:
    add(client, 1)
    at_end(client, LEADS, keys.FANOUT)
    assert "--to" in cli("seek", "fanout", "--to", "soon", "--yes", code=2).err
    assert "no group 'mialer'" in cli("seek", "mialer", "--to", "beginning", "--yes", code=1).err
    assert "reads no such stream" in cli("seek", "fanout", "--to", "beginning", "--stream", "emails", code=1).err


def test_every_partition_is_moved_and_recorded_in_its_own(cli: Cli, client: Any) -> None:
    client.hset(keys.META, "partitions", 2)
    for number in range(2):
        client.xadd(keys.stream(number, keys.LEADS), {"id": "x"}, id="1-0")
        at_end(client, keys.stream(number, keys.LEADS), keys.FANOUT)
    assert len(cli("seek", "fanout", "--to", "beginning", "--yes", "--json").json) == 2
    assert sorted(row["partition"] for row in cli("operations", "--json").json) == [0, 1]


def test_what_a_living_worker_holds_is_not_claimed(cli: Cli, client: Any) -> None:
    add(client, 2)
    client.xgroup_create(LEADS, keys.FANOUT, "0")
    client.xreadgroup(keys.FANOUT, "alive", {LEADS: ">"})
    assert "nothing to claim" in cli("claim", "fanout", "--yes").err
    client.xclaim(LEADS, keys.FANOUT, "gone", 0, ["1000-0"], idle=120_000)
    result = cli("claim", "fanout", "--yes", "--json").json
    assert (result["found"], result["entries"]) == (1, ["1000-0"])
    assert client.zscore(keys.due(0, keys.FANOUT), "leads 1000-0") is not None
    pending = {item["message_id"]: item["consumer"] for item in client.xpending_range(LEADS, keys.FANOUT, "-", "+", 9)}
    assert pending == {"1000-0": keys.PARKED, "2000-0": "alive"}
    assert "nothing to claim" in cli("claim", "fanout", "--yes").err


def test_a_parked_entry_that_is_in_no_queue_is_found_and_queued(cli: Cli, client: Any) -> None:
    add(client, 1)
    client.xgroup_create(LEADS, keys.FANOUT, "0")
    client.xreadgroup(keys.FANOUT, keys.PARKED, {LEADS: ">"})
    assert cli("claim", "fanout", "--yes", "--json").json["claimed"] == 1
    assert client.zscore(keys.due(0, keys.FANOUT), "leads 1000-0") is not None


def all_at_end(client: Any) -> None:
    for name, stream in ((keys.LEADS, LEADS), (keys.EMAILS, EMAILS), (keys.OUTCOMES, OUTCOMES)):
        at_end(client, stream, *working_on(name))


def trimmed(cli: Cli, stream: str, before: str, *more: str) -> dict[str, Any]:
    (row,) = cli("trim", stream, "--before", before, "--json", *more).json
    assert isinstance(row, dict)
    return row


def test_a_trim_is_a_dry_run_unless_told_otherwise(cli: Cli, client: Any) -> None:
    add(client, 9)
    all_at_end(client)
    row = trimmed(cli, "leads", "4000-0")
    assert (row["count"], row["blocked_by"]) == (3, "")
    assert client.xlen(LEADS) == 9
    assert trimmed(cli, "leads", "4000-0", "--yes", "--why", "thirty days")["deleted"] == 3
    assert client.xrange(LEADS, count=1)[0][0] == "4000-0"
    (told,) = cli("operations", "--json").json
    assert (told["event"], told["data"]["count"], told["reason"]) == ("StreamTrimmed", 3, "thirty days")


def test_more_entries_than_one_step_takes_are_trimmed_all(
    cli: Cli, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadstream_events.operations.TRIM_STEP", 100)
    with client.pipeline() as pipe:
        for number in range(1, 2_001):
            pipe.xadd(OUTCOMES, {"id": "x"}, id=f"{number}-0")
        pipe.execute()
    all_at_end(client)
    assert trimmed(cli, "outcomes", "1500-0", "--yes")["deleted"] == 1_499
    assert client.xlen(OUTCOMES) == 501


def test_what_a_group_has_not_read_or_not_finished_is_kept_and_the_group_named(cli: Cli, client: Any) -> None:
    add(client, 9)
    all_at_end(client)
    client.xgroup_setid(LEADS, keys.FANOUT, "5000-0")
    row = trimmed(cli, "leads", "9000-0", "--yes")
    assert (row["before"], row["deleted"], row["blocked_by"]) == ("6000-0", 5, "fanout: lag")
    client.xreadgroup(keys.FANOUT, "c", {LEADS: ">"}, count=3)
    client.xack(LEADS, keys.FANOUT, "6000-0")
    row = trimmed(cli, "leads", "9000-0")
    assert (row["before"], row["blocked_by"]) == ("7000-0", "fanout: 2 pending")


def test_nothing_is_trimmed_before_every_group_has_started(cli: Cli, client: Any) -> None:
    add(client, 3)
    at_end(client, LEADS, keys.FANOUT)
    row = trimmed(cli, "leads", "9000-0", "--yes")
    assert row["deleted"] == 0
    assert row["blocked_by"].endswith("has never started")
    assert client.xlen(LEADS) == 3


def test_the_lead_of_an_open_mail_or_dead_letter_is_kept(cli: Cli, client: Any) -> None:
    add(client, 9)
    all_at_end(client)
    client.xadd(EMAILS, {"data": json.dumps({"lead_entry": "4000-0"})}, id="9500-0")
    assert trimmed(cli, "leads", "9000-0")["blocked_by"] == "a mail that has not ended"
    client.xreadgroup(keys.MAILER, keys.PARKED, {EMAILS: ">"})
    assert trimmed(cli, "leads", "9000-0")["before"] == "4000-0"
    fields = {"data": json.dumps({"lead_entry": "2000-0"})}
    letter = {"group": "mailer", "stream": EMAILS, "entry_id": "9500-0", "fields": fields}
    client.xadd(DEAD, {"data": json.dumps(letter)})
    row = trimmed(cli, "leads", "9000-0")
    assert (row["before"], row["blocked_by"]) == ("2000-0", "a dead letter")


def test_dead_letters_are_dropped_and_not_trimmed(cli: Cli) -> None:
    assert "dead" in cli("trim", "dead", "--before", "1d", code=2).err


def test_projections_status_shows_generation_and_lag(cli: Cli, client: Any) -> None:
    assert all(not row["started"] for row in cli("projections", "status", "--json").json)
    add(client, 3)
    client.xgroup_create(LEADS, "projections.totals", "1000-0")
    client.hset(keys.projection_pointer(0), "totals", 4)
    row = cli("projections", "status", "--json").json[0]
    assert (row["projection"], row["generation"], row["lag"]) == ("totals", 4, 2)
    assert "never started" in cli("projections", "status").out
