"""A batch takes its good lines and says of each bad one why, in order; repeating it stores nothing twice."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from leadstream_api import limits
from leadstream_events import keys
from leadstream_events.redis_client import Client
from tests.integration.api.conftest import LEAD

LEADS = keys.stream(0, keys.LEADS)
NDJSON = {"content-type": "application/x-ndjson"}
GOOD = json.dumps(LEAD).encode()


async def post(api: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await api.post("/leads/batch", content=body, headers=NDJSON | headers)


def results(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_good_lines_are_taken_and_bad_ones_say_why_in_the_order_of_the_lines(
    api: httpx.AsyncClient, raw: Client
) -> None:
    lines = [
        GOOD,
        b"",
        b"{oops",
        b'{"full_name":"A\\n","email":"a@example.com"}',
        b"\xff",
        b" " + GOOD + b"\r",
        b"[" * 9000,
    ]
    found = results(await post(api, b"\n".join(lines)))
    assert [(each["line"], each["status"]) for each in found] == [
        (1, 202),
        (3, 400),
        (4, 422),
        (5, 400),
        (6, 202),
        (7, 400),
    ]
    assert [error["field"] for error in found[2]["errors"]] == ["full_name"]
    assert await raw.xlen(LEADS) == 2
    assert (await api.get(f"/leads/{found[0]['lead_id']}")).json()["mode"] == "batch"


async def test_a_repeated_batch_stores_nothing_twice_and_gives_the_same_ids(
    api: httpx.AsyncClient, raw: Client
) -> None:
    body = b"\n".join([GOOD] * 100)
    first = results(await post(api, body, **{"idempotency-key": "b"}))
    again = results(await post(api, body, **{"idempotency-key": "b"}))
    assert [each["lead_id"] for each in first] == [each["lead_id"] for each in again]
    assert {each["repeated"] for each in first} == {False}
    assert {each["repeated"] for each in again} == {True}
    assert await raw.xlen(LEADS) == len({each["lead_id"] for each in first}) == 100


async def test_a_changed_line_under_the_same_key_is_a_conflict_of_that_line_alone(
    api: httpx.AsyncClient, raw: Client
) -> None:
    await post(api, GOOD + b"\n" + GOOD, **{"idempotency-key": "b"})
    changed = json.dumps(LEAD | {"city": "X"}).encode()
    found = results(await post(api, GOOD + b"\n" + changed, **{"idempotency-key": "b"}))
    assert [each["status"] for each in found] == [202, 409]
    assert await raw.xlen(LEADS) == 2


async def test_a_line_over_the_limit_of_a_lead_is_refused_alone(api: httpx.AsyncClient) -> None:
    long = json.dumps(LEAD | {"source": "x" * limits.LEAD_BYTES}).encode()
    assert [each["status"] for each in results(await post(api, long + b"\n" + GOOD))] == [413, 202]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\n \r\n", NDJSON, 400),
        (b"{}\n" * (limits.BATCH_LINES + 1), NDJSON, 413),
        (b"", NDJSON | {"content-length": str(limits.BATCH_BYTES + 1)}, 413),
        (GOOD, {"content-type": "application/json"}, 415),
        (GOOD, NDJSON | {"idempotency-key": "a b"}, 400),
    ],
)
async def test_a_batch_that_cannot_be_read_as_one_is_refused_as_a_whole(
    api: httpx.AsyncClient, raw: Client, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await api.post("/leads/batch", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert await raw.xlen(LEADS) == 0
