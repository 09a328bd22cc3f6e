"""Unusual leads that are right: taken, and stored in one spelling. Numbers are those of docs/cases.md."""

from __future__ import annotations

import json

import httpx
import pytest

from leadstream_events import keys
from leadstream_events.redis_client import Client
from tests.integration.api.conftest import LEAD

LEADS = keys.stream(0, keys.LEADS)
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "application/vnd.x+json", "Application/JSON"],
)
async def test_json_by_any_of_its_names_is_taken(api: httpx.AsyncClient, content_type: str) -> None:
    answer = await api.post("/leads", content=json.dumps(LEAD).encode(), headers={"content-type": content_type})
    assert answer.status_code == 202


async def test_an_address_of_254_characters_is_taken(api: httpx.AsyncClient) -> None:
    address = "x" * 64 + "@" + ".".join(["d" * 61] * 3 + ["com"])
    assert len(address) == 254
    assert (await api.post("/leads", json=LEAD | {"email": address})).status_code == 202


async def test_of_a_repeated_key_the_last_value_counts_everywhere(api: httpx.AsyncClient, raw: Client) -> None:
    body = b'{"full_name":"a","email":"victim@example.com","email":"dana@example.com"}'
    answer = await api.post("/leads", content=body, headers=JSON)
    assert answer.status_code == 202
    shown = (await api.get(answer.json()["location"])).json()
    assert shown["lead"]["email"] == "dana@example.com"
    assert b"victim" not in (await raw.xrange(LEADS))[0][1][b"data"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2026-03-29T02:30:00", "2026-03-29T02:30:00Z"),
        ("2026-03-29T02:30:00Z", "2026-03-29T02:30:00Z"),
        ("2026-03-29T02:30:00+02:00", "2026-03-29T00:30:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
async def test_a_time_is_stored_in_utc_and_one_without_offset_is_utc(
    api: httpx.AsyncClient, given: str, stored: str
) -> None:
    answer = await api.post("/leads", json=LEAD | {"consent": {"time": given}})
    shown = (await api.get(answer.json()["location"])).json()
    assert shown["lead"]["consent"]["time"] == stored
