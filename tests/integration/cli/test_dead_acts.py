"""Dead letters redriven, dropped and settled from the command line: said first, done once, and kept with a reason."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from leadstream_events import keys
from leadstream_events.ledger import State
from leadstream_events.redis_client import Client, connect
from leadstream_events.schemas.events import DeadLetterDropped, DeadLetterRedriven, EmailRequested, MailSettled
from leadstream_events.schemas.subscriber import SubscriberPatch
from leadstream_events.subscribers import SubscriberStore
from tests.contract.given_up import LEAD, events, given_up, row_of, subscriber, usage
from tests.integration.cli.conftest import Cli, run_process
from tests.support.entries import DEAD, EMAILS, OUTCOMES, now

T = TypeVar("T")
InLoop = Callable[[Callable[[Client], Awaitable[T]]], T]


@pytest.fixture
def inside(redis_url: str) -> Iterator[InLoop[Any]]:
    """Runs a coroutine function with a client: the command itself needs a loop of its own."""

    def call(work: Callable[[Client], Awaitable[T]]) -> T:
        async def run() -> T:
            client: AsyncRedis = connect(redis_url, timeout_s=5.0)
            try:
                return await work(client)
            finally:
                await client.aclose()

        return asyncio.run(run())

    yield call


@pytest.fixture
def client(redis_url: str) -> Any:
    with Redis.from_url(redis_url, protocol=2) as made:
        yield made


def test_a_dry_run_counts_what_is_meant_and_changes_nothing(cli: Cli, client: Any, inside: InLoop[Any]) -> None:
    who = inside(subscriber)
    inside(lambda c: given_up(c, who))
    inside(lambda c: given_up(c, None, cause="template"))
    rows = cli("dead", "redrive", "--all", "--dry-run", "--json").json
    assert sorted((row["cause"], row["count"]) for row in rows) == [("smtp_550", 1), ("template", 1)]
    assert cli("dead", "redrive", "--all", "--dry-run", "--by", "domain", "--json").json == [
        {"domain": "example.com", "count": 2}
    ]
    (row,) = cli("dead", "redrive", "--subscriber", who, "--dry-run", "--by", "subscriber", "--json").json
    assert row == {"subscriber": who, "count": 1}
    assert client.xlen(DEAD) == 2
    assert client.xlen(EMAILS) == 2


@pytest.mark.parametrize(
    ("choice", "count"),
    [
        (("--cause", "smtp_550"), 1),
        (("--cause", "other"), 0),
        (("--lead", LEAD), 2),
        (("--domain", "Example.COM"), 2),
        (("--domain", "example.org"), 0),
        (("--subscriber", "S@example.com"), 1),
        (("--subscriber", "s", "--cause", "template"), 0),
        (("--group", "mailer", "--limit", "1"), 1),
    ],
)
def test_a_choice_means_what_every_condition_says(
    cli: Cli, inside: InLoop[Any], choice: tuple[str, ...], count: int
) -> None:
    who = inside(subscriber)
    inside(lambda c: given_up(c, who))
    inside(lambda c: given_up(c, None, cause="template"))
    rows = cli("dead", "redrive", *choice, "--dry-run", "--json").json
    assert sum(row["count"] for row in rows) == count


def test_without_a_choice_nothing_is_meant(cli: Cli) -> None:
    for command in ("redrive", "drop", "settle"):
        assert "say which" in cli("dead", command, "--yes", "--reason", "x", code=2).err


def test_a_redrive_says_who_and_why_in_the_story_and_among_operations(
    cli: Cli, client: Any, inside: InLoop[Any]
) -> None:
    who = inside(subscriber)
    mail, letter = inside(lambda c: given_up(c, who))
    result = cli("dead", "redrive", f"dead/{letter}", "--yes", "--why", "address corrected", "--json").json
    assert (result["chosen"], result["done"], result["refused"]) == (1, 1, {})
    (told,) = inside(lambda c: events(c, OUTCOMES, DeadLetterRedriven))
    assert "@" in told.data.by
    assert told.data.reason == "address corrected"
    (row,) = cli("operations", "--json").json
    assert (row["event"], row["by"], row["reason"]) == ("CommandFinished", told.data.by, "address corrected")
    assert "action=dead redrive" in row["what"]
    assert cli("dead", "redrive", letter, "--yes", "--json").json["done"] == 0
    assert len(inside(lambda c: events(c, EMAILS, EmailRequested))) == 2
    assert inside(lambda c: row_of(c, mail)).state is State.REQUESTED


def test_two_terminals_at_once_redrive_each_letter_once(
    cli: Cli, inside: InLoop[Any], tmp_path: Path, redis_url: str
) -> None:
    """Case 125: operators press twice."""
    who = inside(subscriber)
    inside(lambda c: given_up(c, who))
    inside(lambda c: given_up(c, None, cause="template"))
    env = {"LEADSTREAM_REDIS_URL": redis_url}
    results: list[Any] = []

    def press() -> None:
        done = run_process("dead", "redrive", "--all", "--yes", "--json", cwd=tmp_path, env=env)
        results.append(done.json)

    both = [threading.Thread(target=press) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sum(result["done"] for result in results) == 2
    assert all(not result["refused"] for result in results)
    assert len(inside(lambda c: events(c, EMAILS, EmailRequested))) == 4
    assert cli("dead", "redrive", "--all", "--yes", "--json").json["chosen"] == 0


def test_what_the_mailer_would_skip_is_refused_with_its_mend(cli: Cli, client: Any, inside: InLoop[Any]) -> None:
    who = inside(subscriber)
    inside(lambda c: given_up(c, who))
    inside(lambda c: SubscriberStore(c).change(who, SubscriberPatch(active=False), now()))
    result = cli("dead", "redrive", "--all", "--yes", "--json", code=1)
    assert result.json["refused"] == {"subscriber_inactive": 1}
    assert "activate it, then redrive" in result.err
    assert client.xlen(DEAD) == 1


def test_a_drop_needs_a_reason_and_keeps_it(cli: Cli, client: Any, inside: InLoop[Any]) -> None:
    inside(lambda c: given_up(c, None))
    assert "--reason" in cli("dead", "drop", "--all", "--yes", code=2).err
    assert "1 dropped" in cli("dead", "drop", "--all", "--yes", "--reason", "a test address").err
    (told,) = inside(lambda c: events(c, OUTCOMES, DeadLetterDropped))
    assert told.data.reason == "a test address"
    assert client.xlen(DEAD) == 0


def test_held_mails_are_settled_and_count_if_they_were_sent(cli: Cli, inside: InLoop[Any]) -> None:
    who = inside(lambda c: subscriber(c, 1))
    mail, _ = inside(lambda c: given_up(c, who, state=State.HELD, cause="outcome_unknown"))
    assert "--sent or --not-sent" in cli("dead", "settle", "--all", "--yes", code=2).err
    assert "settle it" in cli("dead", "drop", "--all", "--yes", "--reason", "x", code=1).err
    cli("dead", "settle", "--cause", "outcome_unknown", "--sent", "--yes", "--reason", "found in the log")
    (told,) = inside(lambda c: events(c, OUTCOMES, MailSettled))
    assert (told.data.sent, told.data.reason) == (True, "found in the log")
    assert inside(lambda c: row_of(c, mail)).state is State.SENT
    assert inside(lambda c: usage(c, who)) == (0, 1)  # counted by the quota group, which does not run here


def test_no_answer_is_no(cli: Cli, client: Any, inside: InLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    inside(lambda c: given_up(c, None))
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        cli("dead", "redrive", "--all", code=130)
    assert client.xlen(DEAD) == 1


def test_a_rate_spreads_redrives_over_time(cli: Cli, inside: InLoop[Any]) -> None:
    import time

    who = inside(subscriber)
    inside(lambda c: given_up(c, who))
    inside(lambda c: given_up(c, None, cause="template"))
    began = time.monotonic()
    assert cli("dead", "redrive", "--all", "--yes", "--rate", "5/s", "--json").json["done"] == 2
    assert time.monotonic() - began >= 0.2
    assert "50/min" in cli("dead", "redrive", "--all", "--yes", "--rate", "fast", code=2).err


def test_letters_are_counted_by_domain_and_subscriber_with_the_address_masked(cli: Cli, inside: InLoop[Any]) -> None:
    who = inside(subscriber)
    inside(lambda c: given_up(c, who))
    (row,) = cli("dead", "list", "--by", "domain", "--json").json
    assert (row["domain"], row["count"]) == ("example.com", 1)
    (row,) = cli("dead", "list", "--by", "subscriber", "--json").json
    assert row["subscriber"] == who
    assert "s@example.com" not in cli("dead", "show", row["example"]).out
    assert keys.DEAD in row["example"]
