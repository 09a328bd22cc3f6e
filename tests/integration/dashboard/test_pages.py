"""The dashboard over a real Redis: pages, live stream, redrive over HTTP and previews."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from leadstream_api.context import Services
from leadstream_api.dashboard.live import Live
from leadstream_api.dashboard.sse import stream
from leadstream_events import keys
from leadstream_events.envelope import encode, make_event
from leadstream_events.ids import email_id
from leadstream_events.ledger import Row, State
from leadstream_events.redis_client import Client
from leadstream_events.runtime.delivery import Delivery, dead_letter
from leadstream_events.schemas.events import EmailRequested, Kind
from leadstream_events.settings import Settings
from tests.integration.api.access_rig import Keys, bearer, guarded
from tests.integration.api.conftest import LEAD, api_client

HTML = {"Accept": "text/html"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PAGES = ("/", "/ui/leads", "/ui/subscribers", "/ui/dead-letters", "/ui/suppressions", "/ui/previews", "/ui/streams")


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with api_client(settings) as client:
        yield client


async def given_up(api: httpx.AsyncClient, raw: Client, *, state: State = State.FAILED) -> tuple[str, str, str]:
    """A lead whose mail to a subscriber failed; (lead id, mail id, letter)."""
    who = (await api.post("/subscribers", json={"email": "s@example.com", "name": "Sam"})).json()["id"]
    lead = (await api.post("/leads", json=LEAD)).json()["lead_id"]
    mail, now = email_id(lead, Kind.NOTIFICATION, who), datetime.now(UTC)
    data = EmailRequested(
        email_id=mail, kind=Kind.NOTIFICATION, subscriber_id=who, to="s@example.com", lead_entry="1-1"
    )
    event, stream_key = make_event(data, subject=lead, now=now), keys.stream(0, keys.EMAILS)
    entry = (await raw.xadd(stream_key, encode(event))).decode()
    await raw.hset(keys.ledger(0, lead), mail, str(Row(state, 1, entry=entry)))
    fields = {name.encode(): value.encode() for name, value in encode(event).items()}
    effect = dead_letter(Delivery(0, stream_key, entry, fields, event), keys.MAILER, "smtp_550", "no such user", now)
    letter = (await raw.execute_command("XADD", effect.key, *effect.args)).decode()
    return lead, mail, letter


async def test_a_letter_is_redriven_once_over_http_however_many_ask_at_once(
    api: httpx.AsyncClient, raw: Client
) -> None:
    lead, _, letter = await given_up(api, raw)
    answers = await asyncio.gather(*(api.post(f"/dead-letters/{letter}/redrive") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    (good,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert (good["id"], good["lead_id"]) == (letter, lead)
    assert await raw.xlen(keys.stream(0, keys.EMAILS)) == 2
    again = await api.post(f"/dead-letters/{letter}/redrive")
    assert (again.status_code, again.json()["type"]) == (409, "urn:leadstream:problem:already")


async def test_a_refused_redrive_tells_the_mend(api: httpx.AsyncClient, raw: Client) -> None:
    _, _, letter = await given_up(api, raw)
    await api.post("/suppressions", json={"address": "S@example.com"})
    refused = await api.post(f"/dead-letters/{letter}/redrive?reason=try")
    assert refused.status_code == 409
    assert "release it or correct it" in refused.json()["detail"]
    assert (await api.post("/dead-letters/no-id/redrive")).status_code == 404


async def test_the_reason_of_a_redrive_stands_in_the_leads_timeline(api: httpx.AsyncClient, raw: Client) -> None:
    lead, mail, letter = await given_up(api, raw)
    await api.post(f"/dead-letters/{letter}/redrive", params={"reason": "address corrected"})
    told = (await raw.xrange(keys.stream(0, keys.OUTCOMES)))[-1]
    data = json.loads(told[1][b"data"])
    assert (told[1][b"type"], told[1][b"subject"].decode()) == (b"DeadLetterRedriven", lead)
    assert (data["reason"], data["by"], data["email_id"]) == ("address corrected", "api", mail)


async def test_a_held_mail_is_settled_on_its_leads_page_once(api: httpx.AsyncClient, raw: Client) -> None:
    lead, mail, _ = await given_up(api, raw, state=State.HELD)
    page = (await api.get(f"/ui/leads/{lead}", headers=HTML)).text
    assert "It was sent" in page
    path = f"/ui/leads/{lead}/mails/{mail}/sent"
    first, second = [await api.post(path, content="reason=log", headers=HTML | FORM) for _ in range(2)]
    assert first.headers["location"] == f"/ui/leads/{lead}?done=settled"
    assert "why=not_held" in second.headers["location"]
    assert "Only a held mail can be settled" in (await api.get(second.headers["location"], headers=HTML)).text


async def test_pages_are_html_under_a_policy_without_inline_code(api: httpx.AsyncClient) -> None:
    for path in PAGES:
        answer = await api.get(path, headers=HTML)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert " style=" not in answer.text
        assert " onclick=" not in answer.text


async def test_assets_may_be_kept_because_their_names_hold_their_hash(api: httpx.AsyncClient) -> None:
    page = (await api.get("/", headers=HTML)).text
    path = page.partition('<link rel="stylesheet" href="')[2].partition('"')[0].replace("&#x2f;", "/")
    answer = await api.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer.headers["cache-control"]
    assert (await api.get("/ui/assets/app.css")).status_code == 404


async def test_the_overview_says_so_when_redis_is_away(tmp_path: Path) -> None:
    settings = Settings(redis_url="redis://127.0.0.1:1/0", data_dir=tmp_path, smtp_url="smtp://127.0.0.1:1")
    async with api_client(settings) as api:
        answer = await api.get("/", headers=HTML)
        assert answer.status_code == 200
        assert "Fallback." in answer.text
        leads = await api.get("/ui/leads", headers=HTML)
    assert leads.status_code == 503
    assert "Redis cannot take work now" in leads.text
    assert leads.headers["content-type"].startswith("text/html")


async def test_a_preview_is_sandboxed_and_shows_the_leads_own_mail(api: httpx.AsyncClient) -> None:
    name = "<script>alert(1)</script>"
    lead = (await api.post("/leads", json=LEAD | {"full_name": name})).json()["lead_id"]
    html = await api.get("/previews/notification", params={"lead_id": lead})
    assert html.headers["content-type"] == "text/html; charset=utf-8"
    assert html.headers["content-security-policy"].endswith("; sandbox")
    assert "<script" not in html.text
    text = await api.get("/previews/notification", params={"lead_id": lead}, headers={"Accept": "text/plain"})
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert name in text.text
    assert (await api.get("/previews/welcome")).status_code == 200
    unknown = await api.get("/previews/welcome", params={"lead_id": "00000000-0000-0000-0000-000000000000"})
    assert unknown.status_code == 404


async def test_previews_of_real_leads_need_the_right_to_see_personal_data(settings: Settings, tmp_path: Path) -> None:
    rights = Keys(tmp_path / "keys.toml")
    reader, ingest = rights.add("r", "read"), rights.add("i", "ingest")
    async with guarded(settings, rights) as api:
        lead = (await api.post("/leads", json=LEAD, headers=bearer(ingest))).json()["lead_id"]
        assert (await api.get("/previews/welcome", headers=bearer(reader))).status_code == 200
        refused = await api.get("/previews/welcome", params={"lead_id": lead}, headers=bearer(reader))
        assert refused.status_code == 403
        masked = (await api.get(f"/ui/leads/{lead}", headers=bearer(reader) | HTML)).text
        assert "dana@example.com" not in masked
        assert (await api.get("/", headers=HTML)).headers["location"] == "/login?next=%2F"
        assert (await api.get("/events")).status_code == 401


async def test_a_page_of_another_site_cannot_change_anything(api: httpx.AsyncClient, raw: Client) -> None:
    _, _, letter = await given_up(api, raw)
    evil = HTML | FORM | {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for path in (f"/ui/dead-letters/0/{letter}/redrive", "/ui/dead-letters/redrive", "/ui/subscribers/new"):
        assert (await api.post(path, content="reason=x", headers=evil)).status_code == 403
    assert await raw.xlen(keys.stream(0, keys.DEAD)) == 1


async def test_leads_are_found_by_id_name_and_state(api: httpx.AsyncClient) -> None:
    ids = [
        (await api.post("/leads", json={"full_name": f"Person {state}", "email": "p@example.com", "state": state}))
        .json()["lead_id"]
        for state in ("CA", "NY")
    ]  # fmt: skip
    assert (await api.get("/ui/leads", params={"q": ids[0]})).headers["location"] == f"/ui/leads/{ids[0]}"
    by_name = (await api.get("/ui/leads", params={"q": "person ny"}, headers=HTML)).text
    assert "Person NY" in by_name
    assert "Person CA" not in by_name
    by_state = (await api.get("/ui/leads", params={"state": "ca"}, headers=HTML)).text
    assert "Person CA" in by_state
    assert "Person NY" not in by_state
    assert "must be a day" in (await api.get("/ui/leads", params={"since": "soon"}, headers=HTML)).text


async def test_a_wrong_subscriber_is_refused_with_what_was_typed_still_there(api: httpx.AsyncClient) -> None:
    form = {"name": "Ann", "email": "not an address", "states": "CA XYZ", "leads_purchased": "many"}
    answer = await api.post("/ui/subscribers/new", data=form, headers=HTML)
    assert answer.status_code == 422
    assert 'value="not an address"' in answer.text
    for field in ("email", "states", "leads_purchased"):
        assert f"<li>{field}" in answer.text
    good = await api.post("/ui/subscribers/new", data={"name": "Ann", "email": "ann@example.com", "active": "on"})
    assert good.headers["location"] == "/ui/subscribers?done=added"
    taken = await api.post("/ui/subscribers/new", data={"name": "Bo", "email": "ann@example.com"}, headers=HTML)
    assert taken.status_code == 409


async def services_in(client: httpx.AsyncClient) -> Services:
    transport: Any = client._transport
    services: Services = transport.app.state.services
    return services


async def test_one_poller_serves_every_watcher_and_sleeps_when_nobody_looks(api: httpx.AsyncClient) -> None:
    live = Live(await services_in(api))
    assert not live.polling
    watchers = [stream(live, overview=True, pii=pii) for pii in (True, True, False)]
    for watcher in watchers:
        await anext(watcher)  # how soon to come back
    texts = [(await anext(watcher)).decode() for watcher in watchers]
    assert live.polling
    for text in texts:
        assert text.startswith("event: regions\ndata: {")
        assert "event: marks\n" in text
    for watcher in watchers:
        await watcher.aclose()
    assert not live.polling


async def test_a_watcher_is_told_what_changed_and_only_that(api: httpx.AsyncClient) -> None:
    watcher = stream(Live(await services_in(api)), overview=True, pii=False)
    await anext(watcher)
    await anext(watcher)
    await api.post("/leads", json=LEAD)
    async with asyncio.timeout(10):
        while b"regions" not in (text := await anext(watcher)) or b"D***" not in text:
            pass
    parts = json.loads(text.partition(b"data: ")[2].partition(b"\n")[0])
    assert "latest" in parts
    assert "banner" not in parts
    assert b"Dana" not in text
    await watcher.aclose()
