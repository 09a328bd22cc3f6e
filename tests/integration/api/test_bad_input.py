"""Whatever is posted: a clear 4xx that names the field, and nothing is stored. Numbers are those of docs/cases.md."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from leadstream_events import keys
from leadstream_events.redis_client import Client
from tests.integration.api.conftest import LEAD

LEADS = keys.stream(0, keys.LEADS)
VEHICLE = {"year": 2020, "make": "a", "model": "b"}
JSON = {"content-type": "application/json"}
NO_LEAD = "01a212dc-0cf0-768d-b6ce-7c297aee8b1e"


async def post(api: httpx.AsyncClient, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await api.post("/leads", content=content, headers=JSON | headers)


def assert_problem(answer: httpx.Response, status: int, field: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:leadstream:problem:")
    assert body["title"] and body["detail"]
    if field is not None:
        assert field in [error["field"] for error in body["errors"]]


@pytest.fixture(autouse=True)
async def nothing_is_stored(raw: Client) -> AsyncIterator[None]:
    yield
    assert await raw.xlen(LEADS) == 0
    assert not await raw.keys("*ledger*")


WRONG_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "001 line feed in a name": ({"full_name": "Dana\r\nBcc: spy@example.com"}, "full_name"),
    "002 name ends in a line feed": ({"full_name": "Dana\n"}, "full_name"),
    "012 bad punycode": ({"email": "ron@xn--ram--t-k1.com"}, "email"),
    "013 emoji domain": ({"email": "lead@\U0001f600.ws"}, "email"),
    "014 quoted local part": ({"email": '"dana example"@example.com'}, "email"),
    "016 address of 255": ({"email": "x" * 64 + "@" + ".".join(["d" * 61] * 2 + ["d" * 62, "com"])}, "email"),
    "030 minus one": ({"tickets_past_year": -1}, "tickets_past_year"),
    "034 date of another shape": ({"consent": {"time": "3/29/2026"}}, "consent.time"),
    "034 thirtieth of February": ({"consent": {"time": "2026-02-30T00:00:00Z"}}, "consent.time"),
    "number as text": ({"full_name": 7}, "full_name"),
    "text as number": ({"vehicles": [VEHICLE | {"year": "2020"}]}, "vehicles.0.year"),
    "text as boolean": ({"is_homeowner": "yes"}, "is_homeowner"),
    "empty name": ({"full_name": " "}, "full_name"),
    "long name": ({"full_name": "x" * 201}, "full_name"),
    "nul in the city": ({"city": "a\x00b"}, "city"),
    "lone surrogate escape": ({"city": "\x1b[31m"}, "city"),
    "six vehicles": ({"vehicles": [VEHICLE] * 6}, "vehicles"),
    "line feed in a make": ({"vehicles": [VEHICLE, VEHICLE | {"make": "a\nb"}]}, "vehicles.1.make"),
    "state of three letters": ({"state": "CAL"}, "state"),
    "zip": ({"zip_code": "1234"}, "zip_code"),
    "unknown field": ({"full_nam": "x"}, "full_nam"),
    "nested metadata": ({"metadata": {"a": {"b": 1}}}, "metadata.a"),
    "huge integer": ({"tickets_past_year": 10**400}, "tickets_past_year"),
}


@pytest.mark.parametrize(("fields", "field"), WRONG_FIELDS.values(), ids=WRONG_FIELDS.keys())
async def test_a_wrong_field_is_a_422_that_names_it(api: httpx.AsyncClient, fields: dict[str, Any], field: str) -> None:
    assert_problem(await post(api, LEAD | fields), 422, field)


UNREADABLE = {
    "029 latin-1": b'{"full_name":"\xff"}',
    "029 byte order mark": b"\xef\xbb\xbf{}",
    "broken": b'{"full_name":',
    "empty": b"",
    "two values": b"{} {}",
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "deep metadata": b'{"full_name":"a","email":"a@example.com","metadata":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
    "lone surrogate": b'{"full_name":"\\ud800","email":"a@example.com"}',
    "utf-16": '{"full_name":"a"}'.encode("utf-16"),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_a_body_that_cannot_be_read_is_a_400(api: httpx.AsyncClient, body: bytes) -> None:
    assert_problem(await post(api, body), 400)


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"x"', b"{}"])
async def test_a_body_that_is_no_lead_is_a_422(api: httpx.AsyncClient, body: bytes) -> None:
    assert_problem(await post(api, body), 422)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
@pytest.mark.parametrize("field", ["tickets_past_year", "metadata"])
async def test_a_number_that_json_does_not_have_is_refused_wherever_it_stands(
    api: httpx.AsyncClient, number: str, field: str
) -> None:
    value = f'{{"price":{number}}}' if field == "metadata" else number
    answer = await post(api, f'{{"full_name":"a","email":"a@example.com","{field}":{value}}}'.encode())
    assert_problem(answer, 422, "metadata.price" if field == "metadata" else field)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "image/svg+xml", "", None, "application/json; charset=iso-8859-1", "application/json; charset=no"],
)
async def test_a_content_type_that_was_not_asked_for_is_a_415(api: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert_problem(await api.post("/leads", content=json.dumps(LEAD).encode(), headers=headers), 415)


async def test_json_sent_as_a_form_is_refused_for_its_missing_fields(api: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert_problem(await api.post("/leads", content=json.dumps(LEAD).encode(), headers=headers), 422, "email")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_a_413(api: httpx.AsyncClient, chunked: bool) -> None:
    size = 300 * 1024

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 1024):
            yield b" " * 1024

    content: Any = chunks() if chunked else b" " * size
    assert_problem(await api.post("/leads", content=content, headers=JSON), 413)


FORM_FAULTS: list[tuple[dict[str, str], str]] = [
    ({"full_name": "a\nBcc: x@example.com"}, "full_name"),
    ({"vehicles[4][year]": "x"}, "vehicles.4.year"),
    ({"vehicles-2-make": "a\rb"}, "vehicles.2.make"),
    ({"is_homeowner": "perhaps"}, "is_homeowner"),
    ({"tickets_past_year": "٣"}, "tickets_past_year"),
    ({"consent.time": "yesterday"}, "consent.time"),
]


@pytest.mark.parametrize(("fields", "field"), FORM_FAULTS)
async def test_a_wrong_form_field_is_named_as_the_form_had_it(
    api: httpx.AsyncClient, fields: dict[str, str], field: str
) -> None:
    assert_problem(await api.post("/leads", data=LEAD | fields), 422, field)


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_a_bad_idempotency_key_is_a_400(api: httpx.AsyncClient, key: str) -> None:
    assert_problem(await post(api, LEAD, **{"idempotency-key": key}), 400, "Idempotency-Key")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/leads?limit=0", "limit"),
        ("/leads?limit=x", "limit"),
        ("/leads?limit=1&limit=2", "limit"),
        ("/leads?limit=%ff", "limit"),
        ("/leads?cursor=x", "cursor"),
        ("/leads?cursor=LQ,", "cursor"),
        ("/leads?cursor=LCws", "cursor"),
        ("/leads?cursor=%00", "cursor"),
        ("/leads?cursor=MC0w", "cursor"),
        ("/leads?cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTktMQ", "cursor"),
        ("/leads?since=3/29/2026", "since"),
        ("/leads?since=17", "since"),
        ("/leads?until=2026-02-30T00:00:00Z", "until"),
        ("/leads?state=CAL", "state"),
        ("/leads?stat=CA", "stat"),
        ("/dead-letters?cursor=x", "cursor"),
        ("/stats?x=1", "x"),
        ("/stats/series?bucket=week", "bucket"),
        ("/stats/series?bucket=minute&since=2020-01-01T00:00:00Z", "since"),
        ("/stats/series?since=2020-01-01T00:00:00Z&until=2019-01-01T00:00:00Z", "since"),
        ("/stats/series?until=0001-01-01T00:00:00Z", "since"),
    ],
)
async def test_a_bad_query_parameter_is_a_400_that_names_it(api: httpx.AsyncClient, path: str, field: str) -> None:
    assert_problem(await api.get(path), 400, field)


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/leads/x",
        "/leads/01a212dc-0cf0-768d-b6ce-7c297aee8b1e",
        "/%ff%00",
        "/leads/%2e%2e%2f",
        "/subscribers/x",
    ],
)
async def test_an_unknown_resource_is_a_404(api: httpx.AsyncClient, path: str) -> None:
    assert_problem(await api.get(path), 404)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "BREW"])
async def test_a_method_that_is_not_there_is_a_405_that_names_those_that_are(
    api: httpx.AsyncClient, method: str
) -> None:
    answer = await api.request(method, "/leads")
    assert_problem(answer, 405)
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


async def test_every_answer_forbids_sniffing(api: httpx.AsyncClient) -> None:
    for answer in (await api.get("/leads"), await api.get("/nope"), await post(api, b"x")):
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_message_speaks_of_lists_not_of_the_types_of_the_implementation(api: httpx.AsyncClient) -> None:
    (error,) = (await post(api, LEAD | {"vehicles": [VEHICLE] * 6})).json()["errors"]
    assert error["message"] == "List should have at most 5 items after validation, not 6"
