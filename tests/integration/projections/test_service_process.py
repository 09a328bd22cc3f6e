"""The service as a process: killed, stopped, and started in any order, its counters stay exact."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis
from redis.asyncio import Redis

from leadstream_events import keys
from tests.integration.projections.scan import assert_exact
from tests.integration.projections.workload import append, leads
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.redis_server import ServerFactory
from tests.support.waiting import eventually, eventually_sync

MakeService = Callable[..., ServiceProcess]


@pytest.fixture
def make_service(tmp_path: Path) -> Any:
    """Makes the service on a server, with a lease short enough for a test to see orphans taken over."""
    made: list[ServiceProcess] = []

    def make(url: str, ready_line: str = "ready") -> ServiceProcess:
        env = {"LEADSTREAM_REDIS_URL": url, "LEADSTREAM_LEASE": "300ms", "LEADSTREAM_MAX_DELIVERIES": "1000"}
        service = ServiceProcess(
            (),
            env=env,
            output=tmp_path / f"projections-{len(made)}.log",
            ready_line=ready_line,
            module="leadstream_projections",
        )
        made.append(service)
        return service

    yield make
    for service in made:
        service.kill()


async def test_counters_are_exact_after_sigkill_at_random_moments(
    redis_url: str, raw: Any, make_service: MakeService
) -> None:
    random = Random()
    service = make_service(redis_url).start()
    for number in range(5):
        await append(raw, leads(100, seed=number, first=number * 100))
        goal = await _settled(raw) + random.randrange(1, 1500)
        await eventually(partial(_at_least, raw, goal), "some counting")
        await asyncio.to_thread(service.restart)
    await assert_exact(raw)
    assert await raw.exists(keys.stream(0, keys.DEAD)) == 0


async def test_sigterm_in_the_middle_of_work_loses_nothing_and_exits_0(
    redis_url: str, raw: Any, make_service: MakeService
) -> None:
    service = make_service(redis_url).start()
    for number in range(3):
        await append(raw, leads(150, seed=number, first=number * 150))
        assert await asyncio.to_thread(service.terminate) == 0
        await asyncio.to_thread(service.start)
    await assert_exact(raw)
    assert await asyncio.to_thread(service.terminate) == 0
    groups = await raw.xinfo_groups(keys.stream(0, keys.LEADS))
    consumers = [await raw.xinfo_consumers(keys.stream(0, keys.LEADS), group["name"]) for group in groups]
    assert {item["name"].decode() for of_group in consumers for item in of_group} <= {keys.PARKED}


async def test_a_service_started_before_redis_works_once_redis_is_there(
    fresh_server: ServerFactory, make_service: MakeService
) -> None:
    port = free_port()
    service = make_service(f"redis://127.0.0.1:{port}/0", ready_line="waiting for redis")
    await asyncio.to_thread(service.start)
    server = await asyncio.to_thread(fresh_server, port=port)
    async with Redis.from_url(server.url, protocol=2) as client:
        await append(client, leads(50))
        await assert_exact(client)


def test_sigterm_ends_a_service_that_still_waits_for_redis(make_service: MakeService) -> None:
    service = make_service(f"redis://127.0.0.1:{free_port()}/0", ready_line="waiting for redis").start()
    assert service.terminate(9.0) == 0, "less than the drain deadline"


def test_sigterm_ends_a_service_whose_redis_is_gone(fresh_server: ServerFactory, make_service: MakeService) -> None:
    server = fresh_server(port=0)
    service = make_service(server.url).start()
    server.kill()
    eventually_sync(lambda: "backing off" in service.text(), "the service to notice")
    assert service.terminate(9.0) == 0, "less than the drain deadline"


async def test_a_redis_that_is_killed_and_comes_back_leaves_counters_exact(
    fresh_server: ServerFactory, make_service: MakeService, tmp_path: Path
) -> None:
    port = free_port()
    options: dict[str, Any] = {"data_dir": tmp_path / "redis", "port": port, "appendfsync": "always"}
    server = await asyncio.to_thread(lambda: fresh_server(**options))
    service = make_service(server.url)
    await asyncio.to_thread(service.start)
    for number in range(2):
        async with Redis.from_url(server.url, protocol=2) as client:
            await append(client, leads(80, seed=number, first=number * 80))
        await asyncio.to_thread(server.kill)
        server = await asyncio.to_thread(lambda: fresh_server(**options))
    async with Redis.from_url(server.url, protocol=2) as client:
        await assert_exact(client)


def test_a_wrong_setting_is_named_and_exits_2(make_service: MakeService) -> None:
    service = make_service("http://127.0.0.1/", ready_line="LEADSTREAM_REDIS_URL")
    service.start()
    assert service.wait() == 2
    assert "Traceback" not in service.text()


async def _settled(client: Any) -> int:
    """Roughly how many events the totals hold by now: enough to choose a moment by."""
    try:
        values = await client.hmget("leadstream:{0}:p:totals:1", "leads", "requested", "attempts")
    except redis.RedisError:
        return 0
    return sum(int(value or 0) for value in values)


async def _at_least(client: Any, goal: int) -> bool:
    total = await _settled(client)
    stored = [int(await client.xlen(keys.stream(0, name))) for name in (keys.LEADS, keys.EMAILS)]
    return total >= min(goal, sum(stored))
