"""How groups stand, as gauges: what Redis does not know is absent, and never 0."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from leadstream_events import keys
from leadstream_events.redis_client import connect
from leadstream_events.runtime.backlog import Backlog, Standing, standings, together
from leadstream_events.runtime.policy import ConsumerPolicy
from leadstream_events.runtime.source import GroupSource
from leadstream_events.server_time import server_ms
from tests.support.redis_server import ServerFactory

GROUP = "backlog"
STREAM = keys.stream(0, keys.LEADS)


def source_on(url: str) -> GroupSource:
    client = connect(url, timeout_s=5.0)
    return GroupSource(
        client, client, group=GROUP, consumer="c", partition=0, streams=[keys.LEADS], policy=ConsumerPolicy()
    )


def shown(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"leadstream_group_{name}", {"group": GROUP, "stream": keys.LEADS})


async def fill(raw: Redis, source: GroupSource) -> list[str]:
    """Five entries, from a minute ago on, ten seconds apart."""
    await source.ensure_groups()
    first_ms = await server_ms(raw) - 60_000
    ids = [f"{first_ms + 10_000 * number}-0" for number in range(5)]
    for entry_id in ids:
        await raw.xadd(STREAM, {"n": "1"}, id=entry_id)
    return ids


async def test_lag_pending_and_their_ages_are_shown(redis_url: str, raw: Redis) -> None:
    source = source_on(redis_url)
    await fill(raw, source)
    await raw.xreadgroup(GROUP, "c", {STREAM: ">"}, count=2)
    await raw.xreadgroup(GROUP, keys.PARKED, {STREAM: ">"}, count=1)
    await Backlog().refresh([source])
    assert (shown("lag_entries"), shown("pending_entries"), shown("parked_entries")) == (2.0, 3.0, 1.0)
    assert 60 <= (shown("pending_age_seconds") or 0) < 90
    assert 30 <= (shown("lag_age_seconds") or 0) < 60
    await source.client.aclose()


@pytest.mark.parametrize("how", ["seek", "delete"])
async def test_a_lag_that_redis_does_not_know_is_absent(redis_url: str, raw: Redis, how: str) -> None:
    source = source_on(redis_url)
    entries = await fill(raw, source)
    await raw.xreadgroup(GROUP, "c", {STREAM: ">"}, count=1)
    if how == "seek":
        await raw.xgroup_setid(STREAM, GROUP, entries[1])
    else:
        await raw.xdel(STREAM, entries[3])
    (standing,) = await standings(source)
    assert standing.lag is None and standing.lag_age_s >= 0
    await Backlog().refresh([source])
    assert shown("lag_entries") is None
    assert shown("lag_age_seconds") is not None
    await raw.xreadgroup(GROUP, "c", {STREAM: ">"})
    (standing,) = await standings(source)
    assert standing.lag == 0, "nothing waits: that is known for certain"
    await source.client.aclose()


async def test_nothing_is_shown_while_redis_is_away(fresh_server: ServerFactory, tmp_path: Path) -> None:
    server = fresh_server()
    source = source_on(server.url)
    await source.ensure_groups()
    await Backlog().refresh([source])
    assert shown("lag_entries") == 0.0
    server.kill()
    await Backlog().refresh([source])
    assert shown("lag_entries") is None and shown("pending_entries") is None
    await source.client.aclose()


async def test_scrapes_that_follow_closely_share_one_reading(redis_url: str, raw: Redis) -> None:
    source, backlog = source_on(redis_url), Backlog()
    await fill(raw, source)
    await backlog.refresh([source])
    before = (await raw.info("commandstats"))["cmdstat_xpending"]["calls"]
    await backlog.refresh([source])
    assert (await raw.info("commandstats"))["cmdstat_xpending"]["calls"] == before
    await source.client.aclose()


def test_partitions_are_added_up_and_an_unknown_part_makes_the_sum_unknown() -> None:
    one, other = Standing("g", "s", 2, 5.0, 3, 1, 9.0), Standing("g", "s", 4, 7.0, 1, 0, 2.0)
    assert together([one, other])["g", "s"] == Standing("g", "s", 6, 7.0, 4, 1, 9.0)
    unknown = Standing("g", "s", None, 1.0, 0, 0, 0.0)
    assert together([one, unknown, other])["g", "s"].lag is None
