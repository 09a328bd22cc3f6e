"""The limits stand in the OpenAPI document, and the API enforces exactly those.

The last that fits is taken, one more is not.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from leadstream_api import limits
from leadstream_api.openapi import document
from leadstream_events import keys
from leadstream_events.settings import Settings
from tests.cases.pipeline import LEAD
from tests.integration.api.conftest import api_client

JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}
DOCUMENT = document()
FREE = {
    "Lead": ("full_name", "address", "city", "source"),
    "Vehicle": ("make", "model"),
    "Consent": ("text", "url", "ip", "user_agent"),
}
TEXTS = [(schema, field) for schema, fields in FREE.items() for field in fields]


def written(schema: str, field: str, word: str) -> int:
    """What the document says of a field."""
    found = DOCUMENT["components"]["schemas"][schema]["properties"][field]
    options = [found, *found.get("anyOf", ())]
    return next(int(option[word]) for option in options if word in option)


def lead_with(schema: str, field: str, value: object) -> dict[str, Any]:
    if schema == "Vehicle":
        return LEAD | {"vehicles": [{"year": 2020, "make": "a", "model": "b", field: value}]}
    return LEAD | ({"consent": {field: value}} if schema == "Consent" else {field: value})


def body_text(path: str) -> str:
    """What the document says of a body as a whole."""
    return str(DOCUMENT["paths"][path]["post"]["requestBody"]["description"])


@pytest.mark.parametrize(("schema", "field"), TEXTS)
async def test_a_text_may_be_as_long_as_the_document_says(settings: Settings, schema: str, field: str) -> None:
    length = written(schema, field, "maxLength")
    async with api_client(settings) as api:
        assert (await api.post("/leads", json=lead_with(schema, field, "é" * length))).status_code == 202
        refused = await api.post("/leads", json=lead_with(schema, field, "é" * (length + 1)))
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"].endswith(field)


async def test_an_address_may_be_as_long_as_the_document_says(settings: Settings) -> None:
    """Case 016."""
    assert written("Lead", "email", "maxLength") == 254
    async with api_client(settings) as api:
        for longest, status in ((61, 202), (62, 422)):
            address = "x" * 64 + "@" + ".".join(["d" * 61, "d" * 61, "d" * longest, "com"])
            answer = await api.post("/leads", json=LEAD | {"email": address})
            assert (len(address) - 254, answer.status_code) == (longest - 61, status)


async def test_a_lead_has_as_many_vehicles_and_metadata_as_the_document_says(settings: Settings) -> None:
    found = DOCUMENT["components"]["schemas"]["Lead"]["properties"]["metadata"]
    most, key, text = (
        found["maxProperties"],
        found["propertyNames"]["maxLength"],
        found["additionalProperties"]["maxLength"],
    )
    vehicles = written("Lead", "vehicles", "maxItems")
    vehicle = {"year": 2020, "make": "a", "model": "b"}
    fitting: list[dict[str, Any]] = [
        {"vehicles": [vehicle] * vehicles},
        {"metadata": {str(number): number for number in range(most)}},
        {"metadata": {"k" * key: "v" * text, "n": 2**53}},
    ]
    beyond: list[dict[str, Any]] = [
        {"vehicles": [vehicle] * (vehicles + 1)},
        {"metadata": {str(number): number for number in range(most + 1)}},
        {"metadata": {"k" * (key + 1): "v"}},
        {"metadata": {"k": "v" * (text + 1)}},
        {"metadata": {"": "v"}},
        {"metadata": {"n": 2**53 + 1}},
    ]
    async with api_client(settings) as api:
        assert {(await api.post("/leads", json=LEAD | each)).status_code for each in fitting} == {202}
        for each in beyond:
            answer = await api.post("/leads", json=LEAD | each)
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, next(iter(each)))


async def test_a_body_has_as_many_bytes_as_the_document_says(settings: Settings) -> None:
    assert f"At most {limits.LEAD_BYTES} bytes" in body_text("/leads")
    lead = json.dumps(LEAD).encode()
    async with api_client(settings) as api:
        whole = lead.ljust(limits.LEAD_BYTES)
        assert (await api.post("/leads", content=whole, headers=JSON)).status_code == 202
        assert (await api.post("/leads", content=whole + b" ", headers=JSON)).status_code == 413


async def test_a_subscriber_has_as_many_bytes_as_the_document_says(settings: Settings) -> None:
    assert f"At most {limits.RECORD_BYTES} bytes" in body_text("/subscribers")
    draft = json.dumps({"email": "s1@example.com", "name": "Sam"}).encode().ljust(limits.RECORD_BYTES)
    async with api_client(settings) as api:
        assert (await api.post("/subscribers", content=draft + b" ", headers=JSON)).status_code == 413
        assert (await api.post("/subscribers", content=draft, headers=JSON)).status_code == 201


async def test_json_nests_as_deeply_as_the_document_says(settings: Settings, raw: Redis) -> None:
    assert "200 levels of nesting" in body_text("/leads")

    def nested(levels: int) -> bytes:
        inside = b'{"a":' * (levels - 1) + b"1" + b"}" * (levels - 1)
        return b'{"full_name":"a","email":"a@example.com","other":' + inside + b"}"

    async with api_client(settings) as api:
        read = await api.post("/leads", content=nested(200), headers=JSON)
        assert (read.status_code, read.json()["errors"][0]["field"]) == (422, "other")
        for levels in (201, 40_000):
            assert (await api.post("/leads", content=nested(levels), headers=JSON)).status_code == 400
    assert not await raw.exists(keys.stream(0, keys.LEADS))


@pytest.mark.parametrize("multipart", [False, True])
async def test_a_form_has_as_many_fields_as_the_document_says(settings: Settings, multipart: bool) -> None:
    assert f"{limits.FORM_FIELDS} form fields" in body_text("/leads")
    assert f"{limits.FORM_FIELDS} fields" in DOCUMENT["components"]["schemas"]["LeadForm"]["description"]

    async def post(api: httpx.AsyncClient, count: int) -> int:
        form = LEAD | {f"extra{number}": "x" for number in range(count - len(LEAD))}
        if multipart:
            return (await api.post("/leads", files={name: (None, value) for name, value in form.items()})).status_code
        return (await api.post("/leads", data=form)).status_code

    async with api_client(settings) as api:
        assert await post(api, limits.FORM_FIELDS) == 202
        assert await post(api, limits.FORM_FIELDS + 1) == 413


async def test_a_batch_has_as_many_lines_and_bytes_as_the_document_says(settings: Settings, raw: Redis) -> None:
    assert f"At most {limits.BATCH_BYTES} bytes and {limits.BATCH_LINES} lines" in body_text("/leads/batch")
    async with api_client(settings) as api:
        lines = b"{\n" * limits.BATCH_LINES
        answer = await api.post("/leads/batch", content=lines, headers=NDJSON)
        assert answer.status_code == 200
        assert answer.text.count("\n") == limits.BATCH_LINES
        good = json.dumps(LEAD).encode() + b"\n"
        too_many = await api.post("/leads/batch", content=lines + good, headers=NDJSON)
        assert too_many.status_code == 413
        too_large = await api.post("/leads/batch", content=good.ljust(limits.BATCH_BYTES + 1), headers=NDJSON)
        assert too_large.status_code == 413
        line = await api.post("/leads/batch", content=good.strip().ljust(limits.LEAD_BYTES + 1) + b"\n", headers=NDJSON)
        assert json.loads(line.text)["status"] == 413
    assert not await raw.exists(keys.stream(0, keys.LEADS))


async def test_an_idempotency_key_is_as_long_as_the_document_says(settings: Settings) -> None:
    (parameter,) = (
        each for each in DOCUMENT["paths"]["/leads"]["post"]["parameters"] if each["name"] == "Idempotency-Key"
    )
    length = parameter["schema"]["maxLength"]
    async with api_client(settings) as api:
        for count, status in ((length, 202), (length + 1, 400)):
            headers = {"idempotency-key": "k" * count}
            assert (await api.post("/leads", json=LEAD, headers=headers)).status_code == status
