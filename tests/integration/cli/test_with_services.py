"""Commands against real services: what is redriven is sent, what is moved or imported is not sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leadstream_events import keys
from leadstream_events.ids import email_id
from leadstream_events.schemas.events import Kind
from tests.integration.cli.conftest import Cli, run_process
from tests.support.house import House
from tests.support.waiting import eventually_sync

# A lead that went to the spool because the machine stalled would be in no stream yet.
PATIENCE = "10s"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with House(
        tmp_path / "house", appendfsync="no", LEADSTREAM_WELCOME="false", LEADSTREAM_APPEND_DEADLINE=PATIENCE
    ) as made:
        for name in ("LEADSTREAM_REDIS_URL", "LEADSTREAM_PUBLIC_URL", "LEADSTREAM_LEASE"):
            monkeypatch.setenv(name, made.env[name])
        yield made.start()


@pytest.fixture
def cli(redis_url: str, house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command against the house, and not against the empty server."""
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", house.server.url)
    return cli


def first_lead(house: House, subscribers: int = 2) -> str:
    asyncio.run(house.add_subscribers(subscribers))
    (lead,) = asyncio.run(house.post_leads(1))
    return lead


def test_a_mail_refused_with_550_is_found_by_cause_corrected_redriven_and_sent_once(house: House, cli: Cli) -> None:
    refusal = {"phase": "rcpt", "code": 550, "text": "5.1.1 no such user", "argument": "s1@", "times": None}
    house.inbox.post("/script", {"faults": [refusal]})
    lead = first_lead(house)
    (found,) = eventually_sync(lambda: cli("dead", "list", "--json").json, "the dead letter")
    assert found["count"] == 1
    assert "550" in str(cli("dead", "show", found["example"]).out)
    wrong = house.subscribers[1]
    cli("subscribers", "change", wrong, "--email", "corrected@example.com")
    result = cli("dead", "redrive", "--cause", found["cause"], "--yes", "--why", "address corrected", "--json").json
    assert result["done"] == 1
    mail = email_id(lead, Kind.NOTIFICATION, wrong)
    eventually_sync(lambda: house.inbox.copies()[mail], "the mail to arrive")
    house.wait_idle()
    assert house.inbox.copies()[mail] == 1
    (arrived,) = [item for item in house.inbox.get("/messages") if mail in item["id"]]
    assert "corrected@example.com" in str(arrived["to"])
    story = cli("trace", lead).out
    positions = [story.index(event) for event in ("EmailFailed", "DeadLetterRedriven", "EmailSent")]
    assert positions[0] < positions[1]
    assert "address corrected" in story
    assert cli("dead", "list", "--json").json == []
    assert cli("subscribers", "list", "--json").json[1]["leads_sent"] == 1


def test_a_group_that_is_moved_back_sends_nothing_again(house: House, cli: Cli) -> None:
    first_lead(house)
    eventually_sync(lambda: len(house.inbox.copies()) == 2, "both mails")
    house.wait_idle()
    before = cli("groups", "--json").json
    refused = cli("seek", "mailer", "--to", "beginning", "--yes", code=1)
    assert "is alive" in refused.err or "would go on" in refused.err
    for name in ("mailer", "fanout"):
        house.processes[name].terminate()
    totals = house_totals(cli)
    for group, entries in (("mailer", 2), ("fanout", 1), ("quota", 2)):
        (plan,) = cli("seek", group, "--to", "beginning", "--dry-run", "--json").json
        assert (plan["again"], plan["after"]) == (entries, "0-0")
        result = cli("seek", group, "--to", "beginning", "--yes", "--why", "a test", "--json")
        assert result.json[0]["now"] == "0-0"
        assert "read back" in result.err
    for name in ("mailer", "fanout"):
        house.processes[name].start()
    house.wait_idle()
    assert sum(house.inbox.copies().values()) == 2
    assert house_totals(cli) == totals
    assert {row["group"] for row in before} == {row["group"] for row in cli("groups", "--json").json}
    told = cli("operations", "--json").json
    assert [row["event"] for row in told] == ["GroupMoved"] * 3
    assert {row["reason"] for row in told} == {"a test"}


def house_totals(cli: Cli) -> dict[str, Any]:
    sums = {row["name"]: (row["leads_sent"]) for row in cli("subscribers", "list", "--json", "--pii").json}
    status = {row["projection"]: row["lag"] for row in cli("projections", "status", "--json").json}
    assert set(status) == {"totals", "subscribers", "leads", "series"}
    return sums


def test_what_a_dead_worker_left_is_claimed_and_sent_by_another(house: House, cli: Cli) -> None:
    asyncio.run(house.add_subscribers(1))
    house.wait_idle()  # so that the mailer's group is there
    house.processes["mailer"].terminate()
    asyncio.run(house.post_leads(3))
    emails = keys.stream(0, keys.EMAILS)
    from redis import Redis

    with Redis.from_url(house.server.url, protocol=2) as client:
        eventually_sync(lambda: client.xlen(emails) == 3, "three requests")
        client.xreadgroup(keys.MAILER, "mailer-gone-1", {emails: ">"}, count=3)
        assert cli("claim", "mailer", "--idle", "1h").err.startswith("nothing to claim")
        (row,) = eventually_sync(
            lambda: cli("claim", "mailer", "--idle", "10ms", "--dry-run", "--json").json, "orphans to be idle"
        )
        assert (row["owner"], row["entries"]) == ("mailer-gone-1", 3)
        taken = cli("claim", "mailer", "--idle", "10ms", "--yes", "--why", "host lost", "--json").json
        assert taken["claimed"] == 3
        assert client.zcard(keys.due(0, keys.MAILER)) == 3
    (told,) = cli("operations", "--json").json
    assert (told["event"], told["data"]["count"], told["data"]["owners"]) == ("EntriesClaimed", 3, ["mailer-gone-1"])
    assert told["data"]["entries"] == taken["entries"]
    house.processes["mailer"].start()
    eventually_sync(lambda: sum(house.inbox.copies().values()) == 3, "the mails")
    house.wait_idle()
    assert sum(house.inbox.copies().values()) == 3


def test_an_import_sends_nothing_while_every_service_runs_and_counts_the_same(
    house: House, cli: Cli, tmp_path: Path
) -> None:
    """Invariant 4."""
    lead = first_lead(house)
    eventually_sync(lambda: len(house.inbox.copies()) == 2, "both mails")
    house.processes["mailer"].terminate()
    asyncio.run(house.post_leads(1, first=1))  # its mails have not ended when it is exported
    eventually_sync(lambda: group_lag(cli, "mailer") == 2, "two requests to wait")
    file = tmp_path / "all.jsonl"
    cli("export", str(file), "--pii")
    with House(
        tmp_path / "copy", appendfsync="no", LEADSTREAM_WELCOME="false", LEADSTREAM_APPEND_DEADLINE=PATIENCE
    ) as copy:
        copy.start()
        env = {"LEADSTREAM_REDIS_URL": copy.server.url}
        result = run_process("import", str(file), "--yes", "--json", cwd=tmp_path, env=env)
        assert (result.code, result.json["refused"]) == (0, 0)
        copy.wait_idle()
        again = run_process("import", str(file), "--yes", "--json", "--merge", cwd=tmp_path, env=env)
        assert again.json == {"stored": 0, "there_already": result.json["stored"], "refused": 0}
        ours = run_process("trace", lead, cwd=tmp_path, env=env)
        assert ours.out.count("EmailSent") == 2
        (subscriber, _) = run_process("subscribers", "list", "--json", "--pii", cwd=tmp_path, env=env).json
        assert (subscriber["email"], subscriber["leads_sent"]) == ("s0@example.com", 1)
        held = [row for row in ledger(copy).values() if row.startswith("held ")]
        assert len(held) == 2
        (new,) = asyncio.run(copy.post_leads(1, first=9))  # what comes later is sent
        eventually_sync(lambda: copy.inbox.copies(), "the mails of a new lead")
        asyncio.run(copy.settled([]))
        house_due = {email_id(new, Kind.NOTIFICATION, item) for item in house.subscribers}
        eventually_sync(lambda: set(copy.inbox.copies()) == house_due, "those mails and no others")


def group_lag(cli: Cli, group: str) -> int:
    return sum(row["lag"] for row in cli("groups", "--json").json if row["group"] == group)


def ledger(house: House) -> dict[str, str]:
    """Every row of every mail."""
    from redis import Redis

    rows: dict[str, str] = {}
    with Redis.from_url(house.server.url, protocol=2, decode_responses=True) as client:
        for key in client.scan_iter("leadstream:{0}:ledger:*"):
            rows |= {name: row for name, row in client.hgetall(key).items() if name != "lead"}
    return rows
