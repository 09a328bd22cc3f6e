"""The operator's summary goes out once a day, whoever else is there to send it and whoever dies on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from leadstream_cli.main import run
from leadstream_events import keys
from leadstream_events.daily import End, Turn
from leadstream_events.limits import Rate
from leadstream_events.redis_client import Client, connect
from leadstream_events.settings import Settings
from leadstream_mail.smtp.from_settings import make_pool
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mailer.daily_summary import DailySummary
from tests.integration.projections.running import projecting
from tests.integration.projections.scan import GROUPS, all_finished
from tests.integration.projections.workload import append, leads
from tests.support.smtp_script import Fault, Reply
from tests.support.smtp_server import SmtpServer
from tests.support.waiting import eventually

MORNING = datetime(2026, 11, 26, 7, 0, 1, tzinfo=UTC)
LONG_S = 3_600.0


@pytest.fixture
async def smtp() -> AsyncIterator[SmtpServer]:
    async with SmtpServer() as server:
        yield server


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    made = connect(redis_url, timeout_s=5.0)
    yield made
    await made.aclose()


@pytest.fixture
async def worker(settings: Settings, smtp: SmtpServer, client: Client) -> AsyncIterator[Callable[..., DailySummary]]:
    """Makes mailers' summaries, each with connections of its own."""
    pools: list[SmtpPool] = []

    def make(owner: str, *, now: datetime = MORNING, dead_after_s: float = LONG_S, **more: Any) -> DailySummary:
        wanted = {"smtp_url": SecretStr(smtp.url()), "summary_to": "operator@example.com", **more}
        mine = settings.model_copy(update=wanted)
        pools.append(make_pool(mine))
        return DailySummary(client, mine, pools[-1], owner, lambda: now, dead_after_s)

    yield make
    for pool in pools:
        await pool.close()


async def test_of_many_mailers_one_sends_it_and_the_next_day_one_sends_the_next(
    smtp: SmtpServer, client: Client, worker: Callable[..., DailySummary]
) -> None:
    crowd = [worker(f"mailer-{number}") for number in range(8)]
    answers = await asyncio.gather(*(each.look() for each in crowd), *(each.look() for each in crowd))
    assert answers.count(End.DONE) == 1
    assert {await each.look() for each in crowd} <= {None, Turn.DONE}
    assert smtp.count == 1
    assert await worker("early", now=MORNING.replace(hour=6)).look() is Turn.DONE  # that of the day before
    assert await worker("next", now=MORNING.replace(day=27)).look() is End.DONE
    assert smtp.count == 2
    assert len({mail.message_id for mail in smtp.mails}) == 2
    assert smtp.mails[0].recipients == ("operator@example.com",)
    assert b"Auto-Submitted: auto-generated" in smtp.mails[0].data


async def test_nothing_is_sent_to_nobody(smtp: SmtpServer, worker: Callable[..., DailySummary], client: Client) -> None:
    assert await worker("a", summary_to=None).look() is None
    assert (smtp.count, await client.exists(keys.SUMMARY)) == (0, 0)


async def test_a_mailer_that_dies_before_the_content_leaves_the_day_to_the_next(
    smtp: SmtpServer, worker: Callable[..., DailySummary]
) -> None:
    smtp.script.faults.append(Fault("rcpt", Reply(delay_s=600)))
    dying = asyncio.create_task(worker("dying").look())
    await smtp.wait_until(lambda: any(each.upper().startswith(b"RCPT") for each in smtp.commands()))
    dying.cancel()
    await asyncio.wait([dying])
    assert await worker("waiting").look() is Turn.BUSY
    assert await worker("heir", dead_after_s=0.000_1).look() is End.DONE
    assert smtp.count == 1


async def test_a_mailer_that_dies_behind_the_content_leaves_the_day_marked_and_nobody_sends_again(
    smtp: SmtpServer, client: Client, worker: Callable[..., DailySummary]
) -> None:
    smtp.script.faults.append(Fault("body", Reply(delay_s=600, store=True)))
    dying = asyncio.create_task(worker("dying").look())
    await smtp.wait_for(1)
    dying.cancel()
    await asyncio.wait([dying])
    assert await worker("waiting").look() is Turn.BUSY
    assert await worker("heir", dead_after_s=0.000_1).look() is Turn.LOST
    assert await worker("later").look() is Turn.DONE
    assert (smtp.count, await client.hget(keys.SUMMARY, "phase")) == (1, b"unknown")


@pytest.mark.parametrize(
    ("phase", "code", "ended", "then"),
    [("rcpt", 550, End.FAILED, Turn.DONE), ("rcpt", 450, End.LATER, End.DONE), ("body", 451, End.LATER, End.DONE)],
)
async def test_what_is_refused_is_given_up_and_what_may_pass_is_tried_again(
    smtp: SmtpServer, worker: Callable[..., DailySummary], phase: str, code: int, ended: End, then: End | Turn
) -> None:
    smtp.script.faults.append(Fault(phase, Reply(code, "no")))
    assert await worker("a").look() is ended
    assert await worker("b").look() is then


async def test_a_server_that_is_away_loses_no_day(worker: Callable[..., DailySummary], smtp: SmtpServer) -> None:
    mailer = worker("a", smtp_url=SecretStr("smtp://127.0.0.1:9"))
    assert [await mailer.look(), await mailer.look()] == [End.LATER, End.LATER]
    assert await worker("b").look() is End.DONE


async def test_it_asks_for_a_token_of_the_sending_limit(
    smtp: SmtpServer, client: Client, worker: Callable[..., DailySummary]
) -> None:
    one_an_hour = Rate(1, 3_600_000)
    assert await worker("a", rate_limit=one_an_hour).look() is End.DONE
    assert await worker("b", rate_limit=one_an_hour, now=MORNING.replace(day=27)).look() is End.LATER
    assert smtp.count == 1


async def test_it_tells_what_was_counted_since_the_last_one_and_what_needs_a_look(
    settings: Settings,
    raw: Any,
    smtp: SmtpServer,
    worker: Callable[..., DailySummary],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("LEADSTREAM_SMTP_URL", smtp.url())
    for args in (
        ("subscribers", "add", "low@example.com", "--name", "Lou\u00e9", "--leads-purchased", "20"),
        ("suppressions", "add", "stop@example.com", "--reason", "asked"),
    ):
        assert await asyncio.to_thread(run, args) == 0
    (found,) = [json.loads(value) for value in (await raw.hgetall(keys.SUBSCRIBER_STATE)).values()]
    await raw.hset(keys.quota(found["id"]), "sent", 18)
    await append(raw, leads(40))
    async with projecting(settings):
        await eventually(lambda: all_finished(raw, GROUPS), "every projection to finish")
    assert await worker("a").look() is End.DONE
    await append(raw, leads(10, seed=3, first=40))
    async with projecting(settings):
        await eventually(lambda: all_finished(raw, GROUPS), "every projection to finish")
    capsys.readouterr()
    assert await asyncio.to_thread(run, ("summary", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"]["leads"] == 10
    assert told["suppressed"] == 1
    assert [(each["remaining"], each["purchased"]) for each in told["low"]] == [(2, 20)]
    assert sum(told["failed"].values()) == told["counts"]["failed"]
    assert told["last"] == {"day": "2026-11-26", "phase": "done", "why": ""}
    monkeypatch.setenv("LEADSTREAM_SUMMARY_TO", "operator@example.com")
    assert await asyncio.to_thread(run, ("summary", "--send")) == 0
    shown = capsys.readouterr().out
    assert "leads received" in shown and "operator@" not in shown
    assert smtp.count == 2
    assert (await raw.hget(keys.SUMMARY, "day")) == b"2026-11-26"


async def test_a_summary_that_cannot_go_anywhere_is_refused_with_the_mend(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", settings.redis_url)
    assert await asyncio.to_thread(run, ("summary", "--send")) == 2
    assert "LEADSTREAM_SUMMARY_TO" in capsys.readouterr().err
    monkeypatch.setenv("LEADSTREAM_SUMMARY_AT", "7 am")
    assert await asyncio.to_thread(run, ("summary",)) == 2
    assert "LEADSTREAM_SUMMARY_AT" in capsys.readouterr().err
