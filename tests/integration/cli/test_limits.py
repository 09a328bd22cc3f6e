"""`limits` and the line of `top`: what holds mails back, as it really stands in Redis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from leadstream_cli.story import open_log
from leadstream_cli.top_data import look, mail_lines
from leadstream_events import slowing
from leadstream_events.domains import parse_counts, parse_groups
from leadstream_events.limits import Rate, parse_domain_rates
from leadstream_events.settings import load_settings
from leadstream_events.views_limits import limit_lines
from leadstream_mailer.bounds import Care
from leadstream_mailer.limiter import Limiter, Token
from tests.integration.cli.conftest import Cli


async def test_each_limit_says_what_is_used_and_when_the_next_mail_may_go(
    raw: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    today = now.date()
    care = Care(
        Rate(10, 60_000),
        parse_domain_rates("google=2/min"),
        parse_counts("a.example=3"),
        parse_groups("google=gmail.com"),
        today,
        (4, 8),
    )
    limiter = Limiter(raw, care)
    await limiter.slow_down("x@slow.example")
    asked = ["a@gmail.com", "b@gmail.com", "c@a.example", "d@slow.example", "e@b.example"]
    tokens = [item for item in await limiter.take(asked, 0.0) if isinstance(item, Token)]
    assert len(tokens) == 4  # of five: the first day's
    for name, value in (
        ("RATE_LIMIT", "10/min"),
        ("RATE_LIMIT_DOMAINS", "google=2/min"),
        ("CONCURRENCY_DOMAINS", "a.example=3"),
        ("WARM_UP_START", today.isoformat()),
        ("WARM_UP", "4/day,8/day"),
    ):
        monkeypatch.setenv("LEADSTREAM_" + name, value)
    lines = {(line.name, line.what): line for line in await limit_lines(raw, load_settings(), now)}
    every, warm_up = lines["every domain", "rate"], lines["every domain", "warm-up"]
    assert (every.limit, every.used, every.next_at) == ("10/min", 4, None)
    assert (warm_up.limit, warm_up.used) == ("4/day", 4)
    assert warm_up.next_at is not None and warm_up.next_at > now + timedelta(hours=23)
    assert warm_up.until is not None and warm_up.until.date() == today + timedelta(days=1)
    google, places = lines["google", "rate"], lines["a.example", "at a time"]
    assert google.used == 2 and google.next_at is not None
    assert timedelta(seconds=50) < google.next_at - now < timedelta(seconds=70)
    assert (places.limit, places.used) == ("3", 1)
    slowed = lines["slow.example", "slowed"]
    assert slowed.limit == "30/min" and slowed.next_at is not None and slowed.until is not None
    await limiter.leave(tokens[2])
    lines = {(line.name, line.what): line for line in await limit_lines(raw, load_settings(), now)}
    assert lines["a.example", "at a time"].used == 0


async def test_top_names_the_domains_that_get_fewer(raw: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADSTREAM_PUBLIC_URL", "http://127.0.0.1:1")
    await slowing.note(raw, "google", 12.0)
    shot, _ = await look(open_log(raw, 1), None, datetime.now(UTC), None)
    assert "slowed down         google 12/min" in mail_lines(shot)


def test_the_command_shows_the_one_limit_that_is_there_without_any_setting(cli: Cli) -> None:
    assert [row["limit"] for row in cli("limits", "--json").json] == ["50/min"]
    assert "at once" in cli("limits").out


def test_without_any_limit_it_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADSTREAM_RATE_LIMIT", "off")
    assert "no limits" in cli("limits").err
