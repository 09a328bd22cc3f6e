"""The live view, driven by keys in an 80 x 24 terminal that textual simulates, over a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from textual.css.query import NoMatches
from textual.widgets import DataTable, Static

from leadstream_cli.output import Output
from leadstream_cli.story import open_log
from leadstream_cli.top_app import TopApp
from leadstream_cli.top_data import look, spark
from leadstream_cli.top_drill import StoryScreen, TableScreen
from leadstream_events import keys
from leadstream_events.limits import Rate
from tests.contract.given_up import LEAD, given_up
from tests.integration.cli.conftest import Cli, run_process
from tests.support.entries import EMAILS, LEADS, add_lead, now
from tests.support.waiting import eventually

RATE = Rate(50, 60_000)
SIZE = (80, 24)


@pytest.fixture
async def app(raw: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TopApp]:
    monkeypatch.setenv("LEADSTREAM_PUBLIC_URL", "http://127.0.0.1:1")
    entry = await add_lead(raw, LEAD)
    await raw.hset(keys.ledger(0, LEAD), "lead", f"{entry} fp")
    await raw.xgroup_create(LEADS, keys.FANOUT, "0")
    await given_up(raw, None)
    await raw.xgroup_create(EMAILS, keys.MAILER, "0")
    await raw.xreadgroup(keys.MAILER, "mailer-1", {EMAILS: ">"}, count=1)
    yield TopApp(open_log(raw, 1), RATE, "redis://127.0.0.1:6379/0", 3600.0, Output())


def text(app: TopApp, query: str) -> str:
    return str(app.screen.query_one(query, Static).render())


def rows(app: TopApp) -> list[list[str]]:
    table = app.screen.query(DataTable).first()
    return [[str(cell) for cell in table.get_row_at(number)] for number in range(table.row_count)]


async def shown(condition: Callable[[], object], what: str) -> None:
    """Waits for what is read from Redis: a pause of the pilot only waits until this process is idle."""

    async def holds() -> object:
        try:
            return condition()
        except NoMatches:  # the screen is still to come
            return None

    await eventually(holds, what)


async def test_it_shows_groups_streams_mails_and_dead_letters(app: TopApp) -> None:
    async with app.run_test(size=SIZE):
        await shown(lambda: app.shot and rows(app), "the groups")
        assert rows(app)[0][:2] == ["fanout", "1"]
        (mailer,) = [row for row in rows(app) if row[0] == "mailer"]
        assert mailer[3] == "1"
        assert "0 of 50/min" in text(app, "#mails")
        assert "dead letters 1" in text(app, "#mails")
        assert "API away" in text(app, "#mails")


async def test_keys_lead_from_a_group_to_its_pending_entries_and_to_the_lead(app: TopApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await shown(lambda: app.shot, "the groups")
        await pilot.press("down", "enter")
        await shown(lambda: isinstance(app.screen, TableScreen) and rows(app), "the pending entries")
        assert rows(app)[0][0].startswith("emails/")
        await pilot.press("enter")
        await shown(lambda: isinstance(app.screen, StoryScreen) and text(app, "#story"), "the story")
        story = text(app, "#story")
        assert f"lead {LEAD}" in story
        assert "ada@example.com" not in story
        assert "a***@example.com" in story
        await pilot.press("escape", "escape")
        await shown(lambda: len(app.screen_stack) == 1, "the first screen")


async def test_keys_lead_from_a_dead_cause_to_its_letters_and_to_the_lead(app: TopApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await shown(lambda: app.shot, "the groups")
        await pilot.press("d")
        await shown(lambda: isinstance(app.screen, TableScreen) and rows(app), "the causes")
        assert rows(app)[0][:2] == ["smtp_550", "1"]
        causes = app.screen
        await pilot.press("enter")
        await shown(lambda: app.screen is not causes and rows(app), "the letters")
        assert rows(app)[0][2] == LEAD
        await pilot.press("enter")
        await shown(lambda: isinstance(app.screen, StoryScreen) and text(app, "#story"), "the story")
        assert "DEAD LETTER" in text(app, "#story")


async def test_everything_fits_into_80_columns(app: TopApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await shown(lambda: app.shot and rows(app), "the groups")
        await pilot.pause()
        for table in app.screen.query(DataTable):
            assert table.virtual_size.width <= SIZE[0]
        assert all(len(line) <= SIZE[0] - 2 for line in text(app, "#mails").splitlines())


async def test_rates_come_from_two_readings(raw: Redis, app: TopApp) -> None:
    log, began = open_log(raw, 1), now()
    _, flow = await look(log, RATE, began, None)
    for _ in range(20):
        await add_lead(raw)
    shot, _ = await look(log, RATE, began + timedelta(seconds=10), (flow, began))
    (leads,) = [line for line in shot.streams if line.stream == "leads"]
    assert leads.per_s == 2.0
    (fanout,) = [line for line in shot.groups if line.group == "fanout"]
    assert (fanout.lag, fanout.per_s) == (21, 0.0)


async def test_a_redis_that_goes_away_shows_in_the_head_and_ends_nothing(app: TopApp, monkeypatch: Any) -> None:
    from leadstream_events.redis_client import connect

    async with app.run_test(size=SIZE) as pilot:
        await shown(lambda: app.shot, "the groups")
        gone = connect("redis://127.0.0.1:1/0", timeout_s=1.0)
        monkeypatch.setattr(app._events, "client", gone)
        await pilot.press("r")
        await shown(lambda: "Redis: down" in text(app, "#head"), "the head to say so")
        await gone.aclose()


def test_bars_are_as_high_as_their_values() -> None:
    assert spark([0, 1, 7, 8]) == "·▁▇█"
    assert spark([]) == ""


def test_without_a_terminal_it_prints_once(cli: Cli, tmp_path: Path, redis_url: str) -> None:
    shot = cli("top", "--json").json
    assert (shot["limit"], shot["in_window"], shot["dead"]) == ("50/min", 0, 0)
    result = run_process("top", cwd=tmp_path, env={"LEADSTREAM_REDIS_URL": redis_url})
    assert result.code == 0
    assert "0 of 50/min" in result.out
