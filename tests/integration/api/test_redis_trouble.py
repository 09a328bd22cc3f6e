"""Whatever is wrong with Redis: leads go to the spool, readiness says `degraded` with the cause, and it passes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from leadstream_api.fallback.presence import Presence
from leadstream_events import keys
from leadstream_events.redis_client import Client, connect
from leadstream_events.settings import Settings
from tests.integration.api.conftest import LEAD, api_client
from tests.support.ports import free_port
from tests.support.redis_server import ServerFactory
from tests.support.waiting import eventually

LEADS = keys.stream(0, keys.LEADS)


@asynccontextmanager
async def api_on(url: str, tmp_path: Path, **more: float) -> AsyncIterator[tuple[httpx.AsyncClient, Client]]:
    """The API and a raw client on a server of one's own; `more` are settings."""
    settings = Settings(redis_url=url, data_dir=tmp_path / "data").model_copy(update=more)
    raw = connect(url, timeout_s=5.0)
    async with api_client(settings) as api:
        yield api, raw
    await raw.aclose()


async def assert_spooled(api: httpx.AsyncClient, cause: str) -> str:
    answer = await api.post("/leads", json=LEAD)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["mode"], answer.json()["durability"]) == ("fallback", "spooled")
    ready = await api.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    checks = ready.json()["checks"]
    assert (checks["redis"]["cause"], checks["spool"]["leads"]) == (cause, 1)
    assert (await api.get("/health/live")).status_code == 200
    return str(checks["redis"]["detail"])


async def assert_taken(api: httpx.AsyncClient, raw: Client, leads: int) -> None:
    """Redis takes leads again, and holds this many with the one that is posted here."""

    async def ready() -> bool:
        answer = (await api.get("/health/ready")).json()
        return bool(answer["status"] == "ready" and answer["checks"]["spool"]["leads"] == 0)

    await eventually(ready, "the spool to be merged")
    assert (await api.post("/leads", json=LEAD)).json()["mode"] == "stream"
    assert await raw.xlen(LEADS) == leads


async def test_the_api_starts_before_redis_and_takes_leads_once_redis_is_there(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    port = free_port()
    async with api_on(f"redis://127.0.0.1:{port}", tmp_path) as (api, raw):
        await assert_spooled(api, "down")
        for path in ("/leads", "/subscribers", "/stats", "/streams", "/stats/subscribers", "/dead-letters"):
            answer = await api.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        fresh_server(port=port)
        await assert_taken(api, raw, 2)


async def test_a_stream_key_of_another_type_is_named_and_left_alone(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    """docs/cases.md, case 106."""
    async with api_on(fresh_server().url, tmp_path) as (api, raw):
        await raw.set(LEADS, "x")
        detail = await assert_spooled(api, "wrongtype")
        assert f"{LEADS} holds a string, expected a stream" in detail
        assert "expected a stream" in (await api.get("/leads")).json()["detail"]
        assert await raw.get(LEADS) == b"x"
        await raw.delete(LEADS)
        await assert_taken(api, raw, 2)


async def test_on_a_read_only_replica_the_spool_takes_leads(fresh_server: ServerFactory, tmp_path: Path) -> None:
    async with api_on(fresh_server().url, tmp_path) as (api, raw):
        await assert_taken(api, raw, 1)
        await raw.replicaof("127.0.0.1", "1")
        await assert_spooled(api, "readonly")
        await raw.replicaof("NO", "ONE")
        await assert_taken(api, raw, 3)


async def test_it_is_not_ready_while_leads_still_go_to_the_spool(
    fresh_server: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis answers again, and the API has not found out yet: it says what becomes of the next lead."""
    probe, look = Presence._probe, asyncio.Event()

    async def once_told(presence: Presence) -> None:
        await look.wait()
        await probe(presence)

    monkeypatch.setattr(Presence, "_probe", once_told)
    async with api_on(fresh_server().url, tmp_path) as (api, raw):
        await raw.config_set("maxmemory", "1")
        await assert_spooled(api, "out_of_memory")
        await raw.config_set("maxmemory", "0")
        ready = (await api.get("/health/ready")).json()
        assert (ready["status"], ready["checks"]["redis"]["cause"]) == ("degraded", "out_of_memory")
        look.set()
        await assert_taken(api, raw, 2)


async def test_full_memory_takes_no_lead_and_the_spool_does(fresh_server: ServerFactory, tmp_path: Path) -> None:
    async with api_on(fresh_server().url, tmp_path) as (api, raw):
        await raw.config_set("maxmemory", "1")
        await assert_spooled(api, "out_of_memory")
        await raw.config_set("maxmemory", "0")
        await assert_taken(api, raw, 2)


async def test_a_server_that_hangs_is_given_up_within_the_deadline(fresh_server: ServerFactory, tmp_path: Path) -> None:
    async with api_on(fresh_server().url, tmp_path, append_deadline=3.0) as (api, raw):
        await assert_taken(api, raw, 1)
        await raw.execute_command("CLIENT", "PAUSE", "60000", "ALL")
        answer = await api.post("/leads", json=LEAD, headers={"idempotency-key": "k"})
        assert (answer.status_code, answer.json()["mode"]) == (202, "fallback")
        assert answer.elapsed.total_seconds() < 30, "the server hangs for a minute"


async def test_an_append_whose_answer_was_lost_is_stored_once(fresh_server: ServerFactory, tmp_path: Path) -> None:
    """The server takes the append up after its deadline and refuses it; the merge stores the lead."""
    async with api_on(fresh_server().url, tmp_path, append_deadline=3.0) as (api, raw):
        await assert_taken(api, raw, 1)
        await raw.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
        first = await api.post("/leads", json=LEAD, headers={"idempotency-key": "k"})
        again = await api.post("/leads", json=LEAD, headers={"idempotency-key": "k"})
        assert (first.json()["mode"], again.headers["idempotent-replayed"]) == ("fallback", "true")
        assert first.json() == again.json()
        await raw.execute_command("CLIENT", "UNPAUSE")
        await assert_taken(api, raw, 3)


async def test_what_a_slow_server_turns_out_to_have_is_said_too(fresh_server: ServerFactory, tmp_path: Path) -> None:
    """A full one has another mend than a slow one."""
    with structlog.testing.capture_logs() as lines:
        async with api_on(fresh_server().url, tmp_path, append_deadline=3.0) as (api, raw):
            await raw.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
            await assert_spooled(api, "timeout")
            await raw.config_set("maxmemory", "1")
            await raw.execute_command("CLIENT", "UNPAUSE")

            async def told() -> list[Any]:
                return [line["mend"] for line in lines if line.get("cause") == "out_of_memory"]

            mends = await eventually(told, "the API to say that it is full")
            await raw.config_set("maxmemory", "0")
            await assert_taken(api, raw, 2)
    assert "maxmemory" in mends[0]


async def test_a_batch_goes_to_the_spool_as_a_whole(fresh_server: ServerFactory, tmp_path: Path) -> None:
    server = fresh_server()
    async with api_on(server.url, tmp_path) as (api, _):
        server.stop()
        headers = {"content-type": "application/x-ndjson"}
        lines = b'{"full_name":"A","email":"a@example.com"}\n{"full_name":"B","email":"b@example.com"}'
        answer = await api.post("/leads/batch", content=lines, headers=headers)
        assert answer.status_code == 200
        results = [json.loads(line) for line in answer.text.splitlines()]
        assert [(item["status"], item["mode"]) for item in results] == [(202, "fallback")] * 2


async def test_another_number_of_partitions_than_redis_holds_takes_no_lead(settings: Settings, raw: Client) -> None:
    await raw.hset(keys.META, "partitions", "2")
    async with api_client(settings) as api:

        async def refused() -> bool:
            return (await api.get("/health/ready")).status_code == 503

        await eventually(refused, "the API to learn of the partitions")
        answer = await api.post("/leads", json=LEAD)
    assert (answer.status_code, "LEADSTREAM_PARTITIONS" in answer.json()["detail"]) == (503, True)


@pytest.mark.parametrize("forgotten", ["scripts", "connections"])
async def test_a_server_that_forgot_scripts_or_closed_connections_costs_no_lead(
    api: httpx.AsyncClient, raw: Client, forgotten: str
) -> None:
    await assert_taken(api, raw, 1)
    if forgotten == "scripts":
        await raw.script_flush()
    else:
        await raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await assert_taken(api, raw, 2)
