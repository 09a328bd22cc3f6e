"""Subscribers and suppressions can be added, read, changed and removed, and keep their invariants."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from leadstream_events import keys
from leadstream_events.redis_client import Client

DRAFT = {"email": "Sam@example.com", "name": "Sam"}
UNKNOWN = "/subscribers/01a212dc-0cf0-768d-b6ce-7c297aee8b1e"


async def add(api: httpx.AsyncClient, **fields: Any) -> str:
    answer = await api.post("/subscribers", json=DRAFT | fields)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


async def test_a_subscriber_is_added_read_changed_and_removed(api: httpx.AsyncClient) -> None:
    place = await add(api, states=["ny", "CA"], leads_purchased=10)
    shown = (await api.get(place)).json()
    assert (shown["states"], shown["leads_sent"], shown["leads_remaining"]) == (["CA", "NY"], 0, 10)
    assert (await api.get("/subscribers")).json()["items"] == [shown]
    changed = await api.patch(place, json={"active": False, "leads_purchased": None, "states": None})
    assert (changed.status_code, changed.json()["active"], changed.json()["leads_remaining"]) == (200, False, None)
    assert changed.json()["states"] == []
    assert (await api.delete(place)).status_code == 204
    assert (await api.get(place)).status_code == 404
    assert (await api.get("/subscribers")).json() == {"items": []}


async def test_what_is_left_counts_what_was_sent_and_what_is_reserved(api: httpx.AsyncClient, raw: Client) -> None:
    place = await add(api, leads_purchased=10)
    subscriber = place.rpartition("/")[2]
    await raw.hset(keys.quota(subscriber), mapping={"sent": "3", "last_sent": "2026-03-29T12:00:00Z"})
    await raw.sadd(keys.reserved(subscriber), "a", "b")
    await raw.hset(keys.projection(0, "subscribers", 1), f"{subscriber}:bounced", "1")
    shown = (await api.get(place)).json()
    assert (shown["leads_sent"], shown["leads_remaining"], shown["bounced"]) == (3, 5, 1)
    assert shown["last_sent"] == "2026-03-29T12:00:00Z"


async def test_an_address_belongs_to_one_subscriber_in_any_case(api: httpx.AsyncClient) -> None:
    await add(api)
    other = await add(api, email="other@example.com")
    taken = {"email": "SAM@EXAMPLE.com"}
    assert (await api.post("/subscribers", json=DRAFT | taken)).status_code == 409
    assert (await api.patch(other, json=taken)).status_code == 409


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "Sam\nBcc: x@example.com"}, "name"),
        ({"email": "sam"}, "email"),
        ({"states": ["California"]}, "states.0"),
        ({"leads_purchased": -1}, "leads_purchased"),
        ({"leads_purchased": "10"}, "leads_purchased"),
        ({"actve": True}, "actve"),
    ],
)
async def test_a_wrong_field_is_named_and_changes_nothing(
    api: httpx.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    place = await add(api)
    before = (await api.get(place)).json()
    for answer in (
        await api.post("/subscribers", json=DRAFT | {"email": "b@example.com"} | fields),
        await api.patch(place, json=fields),
    ):
        assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert (await api.get("/subscribers")).json()["items"] == [before]


@pytest.mark.parametrize("name", ["email", "name", "active"])
async def test_what_a_subscriber_must_have_cannot_be_taken_away(api: httpx.AsyncClient, name: str) -> None:
    answer = await api.patch(await add(api), json={name: None})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name)


async def test_an_unknown_subscriber_is_a_404(api: httpx.AsyncClient) -> None:
    answers = [await api.get(UNKNOWN), await api.patch(UNKNOWN, json={}), await api.delete(UNKNOWN)]
    assert [answer.status_code for answer in answers] == [404, 404, 404]


@pytest.mark.parametrize("address", ["dana@example.com", "a/b+c%d@example.com", "d#?a@bücher.example"])
async def test_a_suppression_is_made_shown_and_lifted_by_its_location(api: httpx.AsyncClient, address: str) -> None:
    made = await api.post("/suppressions", json={"address": address, "expires_at": "2999-01-01T00:00:00Z"})
    assert made.status_code == 201, made.text
    (item,) = (await api.get("/suppressions")).json()["items"]
    assert item == made.json()
    assert (item["reason"], item["in_force"]) == ("manual", True)
    lifted = await api.delete(made.headers["location"])
    assert lifted.status_code == 204, lifted.text
    assert (await api.get("/suppressions")).json() == {"items": []}
    assert (await api.delete(made.headers["location"])).status_code == 404


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"address": "x"}, "address"),
        ({"reason": "a\nb"}, "reason"),
        ({"reason": ""}, "reason"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
    ],
)
async def test_a_wrong_suppression_is_named(api: httpx.AsyncClient, fields: dict[str, str], field: str) -> None:
    answer = await api.post("/suppressions", json={"address": "a@example.com"} | fields)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize("path", ["/subscribers", "/suppressions"])
async def test_a_body_that_a_web_page_could_send_unasked_is_refused(api: httpx.AsyncClient, path: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
        answer = await api.post(path, content=b'{"email":"a@example.com"}', headers={"content-type": kind})
        assert answer.status_code == 415
