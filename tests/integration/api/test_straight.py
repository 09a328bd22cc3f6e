"""`POST /leads` goes past Litestar's layers, and nobody can tell: `/leads/` takes the long way to the same handler."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar._asgi.asgi_router import ASGIRouter

from leadstream_api.access.scopes import Scope
from leadstream_events.settings import Settings
from tests.integration.api.access_rig import Keys, bearer, guarded
from tests.integration.api.conftest import LEAD

REQUESTS: dict[str, dict[str, Any]] = {
    "a lead": {"json": LEAD},
    "a form": {"data": LEAD},
    "a wrong field": {"json": LEAD | {"email": "x"}},
    "no JSON": {"content": b"{", "headers": {"Content-Type": "application/json"}},
    "no type": {"content": b"{}"},
    "too much": {"content": b" " * 300_000, "headers": {"Content-Type": "application/json"}},
    "a wrong key for repeating": {"json": LEAD, "headers": {"Idempotency-Key": "x y"}},
    "another site's page": {"json": LEAD, "headers": {"Origin": "https://www.example.com"}},
    "a query": {"json": LEAD, "params": {"a": "b"}},
    "a Host that is none": {"json": LEAD, "headers": {"Host": "a<b"}},
    "an unusual Host": {"json": LEAD, "headers": {"Host": "a!b"}},
}
Guarded = tuple[httpx.AsyncClient, dict[str, dict[str, str]]]
KEYS = ("ingest", "read", "unknown", "none")


@pytest.fixture
async def keys(settings: Settings, tmp_path: Path) -> AsyncIterator[Guarded]:
    """The API, and the headers that each of `KEYS` is sent in."""
    file = Keys(tmp_path / "keys.jsonl")
    secrets = {"ingest": file.add("site", Scope.INGEST), "read": file.add("reader", Scope.READ), "unknown": "ls_x"}
    async with guarded(settings, file) as api:
        yield api, {"none": {}} | {name: bearer(secret) for name, secret in secrets.items()}


def told(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], dict[str, Any]]:
    """An answer without what differs from lead to lead."""
    body = answer.json()
    lead_id = body.get("lead_id", "no lead")
    headers = [(name, value.replace(lead_id, "…")) for name, value in answer.headers.items()]
    return answer.status_code, headers, {name: str(value).replace(lead_id, "…") for name, value in body.items()}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("key", KEYS)
async def test_both_ways_answer_the_same(keys: Guarded, name: str, key: str) -> None:
    api, sent = keys
    request = REQUESTS[name] | {"headers": REQUESTS[name].get("headers", {}) | sent[key]}
    straight, around = await api.post("/leads", **request), await api.post("/leads/", **request)
    assert told(straight) == told(around)
    metrics = (await api.get("/metrics", headers=sent["read"])).text
    (line,) = [line for line in metrics.splitlines() if "responses_total" in line and 'method="POST"' in line]
    assert line.endswith(" 2.0"), "both are counted, under one route and status"


async def test_a_lead_goes_straight_to_its_handler(keys: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise RuntimeError("Litestar's router was asked")

    monkeypatch.setattr(ASGIRouter, "__call__", refuse)
    api, sent = keys
    assert (await api.post("/leads", json=LEAD, headers=sent["ingest"])).status_code == 202
