"""Leads are taken once, listed newest first and shown with everything that happened to them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import httpx
import pytest

from leadstream_events import keys
from leadstream_events.envelope import encode, make_event
from leadstream_events.ids import email_id
from leadstream_events.ledger import Row, State
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import (
    EmailDeferred,
    EmailRequested,
    EmailSent,
    EventData,
    Kind,
    SmtpFailure,
)
from leadstream_events.schemas.lead import Lead
from leadstream_events.settings import Settings
from tests.integration.api.conftest import LEAD, api_client
from tests.support.sealed import opened_lead

LEADS = keys.stream(0, keys.LEADS)
NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def stored_lead(raw: Client) -> Lead:
    ((entry_id, fields),) = await raw.xrange(LEADS)
    return await opened_lead(raw, LEADS, entry_id, fields)


async def test_an_accepted_lead_is_stored_as_posted_and_its_location_shows_it(
    api: httpx.AsyncClient, raw: Client
) -> None:
    lead = LEAD | {"city": "Zürich", "vehicles": [{"year": 2020, "make": "Škoda", "model": "Fabia"}]}
    answer = await api.post("/leads", json=lead, headers={"traceparent": TRACE})
    assert answer.status_code == 202
    body = answer.json()
    assert (body["mode"], body["durability"]) == ("stream", "memory")
    assert answer.headers["location"] == body["location"] == f"/leads/{body['lead_id']}"
    assert (await stored_lead(raw)).city == "Zürich"
    shown = (await api.get(body["location"])).json()
    assert (shown["lead"]["vehicles"][0]["make"], shown["trace"]) == ("Škoda", TRACE)
    assert (shown["mails"], [moment["event"] for moment in shown["timeline"]]) == ([], ["LeadReceived"])


async def test_a_web_form_and_a_multipart_form_are_stored_like_json(api: httpx.AsyncClient, raw: Client) -> None:
    form = LEAD | {"vehicles[0][make]": "a", "vehicles[0][model]": "b", "vehicles[0][year]": "2020", "utm": "ad"}
    key = {"idempotency-key": "form"}
    first = await api.post("/leads", data=form, headers=key)
    files = {name: (None, value) for name, value in form.items()}
    second = await api.post("/leads", files=files, headers=key)
    vehicle = {"make": "a", "model": "b", "year": 2020}
    third = await api.post("/leads", json=LEAD | {"vehicles": [vehicle], "metadata": {"utm": "ad"}}, headers=key)
    assert first.json() == second.json() == third.json()
    assert await raw.xlen(LEADS) == 1


async def test_the_same_key_and_body_give_the_first_answer_again_and_another_body_a_409(
    api: httpx.AsyncClient, raw: Client
) -> None:
    key = {"idempotency-key": "k"}
    first = await api.post("/leads", json=LEAD, headers=key)
    again = await api.post("/leads", json=dict(reversed(LEAD.items())), headers=key)
    other = await api.post("/leads", json=LEAD | {"city": "X"}, headers=key)
    assert "idempotent-replayed" not in first.headers
    assert (again.status_code, again.json(), again.headers["idempotent-replayed"]) == (202, first.json(), "true")
    assert (other.status_code, other.headers["content-type"]) == (409, "application/problem+json")
    assert await raw.xlen(LEADS) == 1


async def test_concurrent_posts_under_one_key_store_one_lead(api: httpx.AsyncClient, raw: Client) -> None:
    posts = [api.post("/leads", json=LEAD, headers={"idempotency-key": "k"}) for _ in range(8)]
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["lead_id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert await raw.xlen(LEADS) == 1


@pytest.mark.parametrize("partitions", [1, 3])
async def test_pages_show_every_lead_once_newest_first_over_all_partitions(settings: Settings, partitions: int) -> None:
    async with api_client(settings.model_copy(update={"partitions": partitions})) as api:
        posted = [(await api.post("/leads", json=LEAD)).json()["lead_id"] for _ in range(25)]
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = (await api.get("/leads", params={"limit": 10} | ({"cursor": cursor} if cursor else {}))).json()
            seen += [item["lead_id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
    assert len(seen) == len(posted)
    assert set(seen) == set(posted)
    if partitions == 1:
        assert seen == posted[::-1]


async def test_filters_pick_leads_by_state_source_and_time(api: httpx.AsyncClient, raw: Client) -> None:
    one = (await api.post("/leads", json=LEAD | {"state": "ca", "source": "ad"})).json()["lead_id"]
    two = (await api.post("/leads", json=LEAD | {"state": "NY"})).json()["lead_id"]

    async def found(**query: str) -> list[str]:
        answer = await api.get("/leads", params=query)
        assert answer.status_code == 200, answer.text
        return [item["lead_id"] for item in answer.json()["items"]]

    assert await found(state="CA") == await found(source="ad") == [one]
    assert await found(state="ny") == [two]
    assert await found(state="TX") == []
    assert await found(since="2020-01-01T00:00:00Z") == [two, one]
    assert await found(until="2020-01-01T00:00:00Z") == []
    assert await found(until="1520-12-11T13:02:45Z") == []
    assert await found(since="9999-12-31T23:59:59Z") == []
    assert await found(since="2020-01-01T00:00:00+02:00", until="2999-01-01T00:00:00") == [two, one]


async def _add(raw: Client, name: str, data: EventData, lead_id: str) -> str:
    entry_id = await raw.xadd(keys.stream(0, name), encode(make_event(data, subject=lead_id, now=NOW)))
    return str(entry_id.decode())


async def test_a_lead_shows_its_mails_from_the_ledger_and_their_attempts_from_the_projection(
    api: httpx.AsyncClient, raw: Client
) -> None:
    subscriber = (await api.post("/subscribers", json={"email": "s@example.com", "name": "Sam"})).json()["id"]
    lead_id = (await api.post("/leads", json=LEAD)).json()["lead_id"]
    mail = email_id(lead_id, Kind.NOTIFICATION, subscriber)
    of_mail = {"email_id": mail, "kind": Kind.NOTIFICATION, "subscriber_id": subscriber}
    requested = await _add(raw, keys.EMAILS, EmailRequested(**of_mail, to="s@example.com", lead_entry="1-1"), lead_id)
    row = Row(State.DEFERRED, attempts=1, at_ms=1_774_785_660_000, entry=requested)
    await raw.hset(keys.ledger(0, lead_id), mail, str(row))

    behind = (await api.get(f"/leads/{lead_id}")).json()
    assert behind["timeline_complete"] is False
    assert [moment["event"] for moment in behind["mails"][0]["timeline"]] == ["EmailRequested"]

    failure = SmtpFailure(permanent=False, phase="rcpt", code=450, enhanced="4.2.0", line="450 4.2.0 Greylisted")
    deferred = await _add(
        raw, keys.OUTCOMES, EmailDeferred(**of_mail, attempt=1, failure=failure, next_attempt_at=NOW), lead_id
    )
    refs = {"@a": f"emails {requested}", "@b": f"outcomes {deferred}", "requested": "1"}
    await raw.hset(keys.projection(0, "leads", 1, lead_id), mapping=refs)
    shown = (await api.get(f"/leads/{lead_id}")).json()
    assert shown["timeline_complete"] is True
    (view,) = shown["mails"]
    assert (view["kind"], view["subscriber_name"], view["state"]) == ("notification", "Sam", "deferred")
    assert view["next_attempt_at"] == "2026-03-29T12:01:00Z"
    assert [moment["event"] for moment in view["timeline"]] == ["EmailRequested", "EmailDeferred"]
    assert view["timeline"][1]["reply"] == "450 4.2.0 Greylisted"


async def test_a_mail_whose_request_was_trimmed_is_still_named(api: httpx.AsyncClient, raw: Client) -> None:
    subscriber = (await api.post("/subscribers", json={"email": "s@example.com", "name": "Sam"})).json()["id"]
    lead_id = (await api.post("/leads", json=LEAD)).json()["lead_id"]
    rows = {
        email_id(lead_id, Kind.NOTIFICATION, subscriber): str(Row(State.SENT, 1, entry="1-1")),
        email_id(lead_id, Kind.WELCOME, "lead"): str(Row(State.FAILED, 4, entry="1-2")),
    }
    await raw.hset(keys.ledger(0, lead_id), mapping=rows)
    mails = (await api.get(f"/leads/{lead_id}")).json()["mails"]
    assert [(mail["kind"], mail["subscriber_name"]) for mail in mails] == [("notification", "Sam"), ("welcome", None)]
    (item,) = (await api.get("/leads")).json()["items"]
    assert item["mails"] == {"total": 2, "open": 0, "sent": 1, "failed": 1, "skipped": 0, "held": 0}


async def test_an_entry_that_cannot_be_read_does_not_break_the_list(api: httpx.AsyncClient, raw: Client) -> None:
    await api.post("/leads", json=LEAD)
    await raw.xadd(LEADS, {"garbage": b"\xff"})
    assert len((await api.get("/leads")).json()["items"]) == 1


async def test_a_sent_mail_that_may_have_gone_twice_is_marked(api: httpx.AsyncClient, raw: Client) -> None:
    lead_id = (await api.post("/leads", json=LEAD)).json()["lead_id"]
    mail = email_id(lead_id, Kind.WELCOME, "lead")
    sent = EmailSent(
        email_id=mail, kind=Kind.WELCOME, attempt=2, code=250, reply="250 OK", message_id="<m>", after_unknown=True
    )
    entry = await _add(raw, keys.OUTCOMES, sent, lead_id)
    await raw.hset(keys.ledger(0, lead_id), mail, str(Row(State.SENT, 2, 1)))
    await raw.hset(keys.projection(0, "leads", 1, lead_id), "@x", f"outcomes {entry}")
    (view,) = (await api.get(f"/leads/{lead_id}")).json()["mails"]
    assert view["timeline"][0]["possible_duplicate"] is True
