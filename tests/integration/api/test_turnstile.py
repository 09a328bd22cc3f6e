"""Turnstile over real sockets: which leads need a token, what a token is good for, and what an outage does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from leadstream_api.access.turnstile import FIELD
from leadstream_events import keys as names
from leadstream_events.redis_client import connect
from leadstream_events.settings import Settings
from tests.integration.api.access_rig import SITE, Keys, bearer, guarded, problem
from tests.integration.api.conftest import LEAD
from tests.support.siteverify import SECRET, Siteverify, siteverify

OUTAGES = ("hang", "drip", "break", "status500", "status302", "page", "endless")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.jsonl")


@pytest.fixture
def there() -> Iterator[Siteverify]:
    with siteverify() as running:
        yield running


@asynccontextmanager
async def checked(settings: Settings, keys: Keys, there: Siteverify, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The API with keys and Turnstile."""
    plain = {"turnstile_secret": SECRET, "turnstile_url": there.url, "turnstile_timeout": 30.0}
    full = Settings(**{**settings.model_dump(exclude_unset=True), **plain, **more})
    async with guarded(full, keys) as client:
        yield client


@pytest.fixture
async def api(settings: Settings, keys: Keys, there: Siteverify) -> AsyncIterator[httpx.AsyncClient]:
    async with checked(settings, keys, there) as client:
        yield client


def page(keys: Keys, **more: Any) -> dict[str, str]:
    """The headers of a page's script."""
    return {**bearer(keys.add("form", "ingest", origins=[SITE], **more)), "Origin": SITE}


async def post(api: httpx.AsyncClient, headers: dict[str, str], form: str, token: str | None) -> httpx.Response:
    """Posts a lead in this form."""
    fields = LEAD if token is None else {**LEAD, FIELD: token}
    if form == "json":
        return await api.post("/leads", json=fields, headers=headers)
    if form == "multipart":
        return await api.post("/leads", files={name: (None, value) for name, value in fields.items()}, headers=headers)
    return await api.post("/leads", data=fields, headers=headers)


async def everything(redis_url: str) -> str:
    """The stream of leads, as Redis has it."""
    client = connect(redis_url, timeout_s=30)
    try:
        (entry,) = await client.xrange(names.stream(0, names.LEADS))
    finally:
        await client.aclose()
    return str(entry)


@pytest.mark.parametrize("form", ["json", "form", "multipart"])
async def test_a_page_s_lead_needs_a_token_that_is_good_once_and_no_trace_of_it_stays(
    api: httpx.AsyncClient,
    keys: Keys,
    there: Siteverify,
    settings: Settings,
    form: str,
) -> None:
    headers = page(keys)
    assert (await post(api, headers, form, "good-1")).status_code == 202
    for token, word in (("good-1", "used before"), ("forged", "not a token"), (None, "missing"), ("", "missing")):
        answer = await post(api, headers, form, token)
        assert (answer.status_code, problem(answer)) == (422, "turnstile")
        assert answer.json()["errors"][0]["field"] == FIELD
        assert word in answer.json()["errors"][0]["message"]
        assert answer.headers["access-control-allow-origin"] == SITE, "the page's script reads what is wrong"
    assert [form["response"] for form in there.asked] == ["good-1", "good-1", "forged"]
    assert all(set(form) == {"secret", "response", "idempotency_key"} for form in there.asked), "no address is told"
    stored = await everything(settings.redis_url)
    lead = (await api.get("/leads", headers=bearer(keys.add("root", "admin")))).text
    assert not any(word in text for word in ("good-1", FIELD) for text in (stored, lead))


async def test_only_pages_need_a_token(api: httpx.AsyncClient, keys: Keys, there: Siteverify) -> None:
    """A secret key proves enough; what it passes on in a form is left out all the same."""
    secret = bearer(keys.add("site", "ingest"))
    root = bearer(keys.add("root", "admin"))
    assert (await post(api, secret, "json", None)).status_code == 202
    answer = await post(api, secret, "form", "good-2")
    assert answer.status_code == 202
    assert (await api.get(answer.json()["location"], headers=root)).json()["lead"]["metadata"] == {}
    batch = {**secret, "Content-Type": "application/x-ndjson"}
    assert (await api.post("/leads/batch", content=b'{"full_name":"x","email":"x@example.com"}', headers=batch)).json()
    assert there.asked == []


async def test_a_document_that_has_no_room_for_a_token_is_refused_to_pages(
    api: httpx.AsyncClient, keys: Keys, there: Siteverify
) -> None:
    document = b"<?adf version='1.0'?><adf><prospect><customer><contact><name part='full'>Dana</name>"
    document += b"<email>dana@example.com</email></contact></customer></prospect></adf>"
    answer = await api.post("/leads", content=document, headers={**page(keys), "Content-Type": "application/x-adf+xml"})
    assert answer.status_code == 422, answer.text
    assert there.asked == []


async def test_a_lead_that_is_wrong_spends_no_token_and_a_repeat_gets_its_first_answer(
    api: httpx.AsyncClient, keys: Keys, there: Siteverify
) -> None:
    headers = {**page(keys), "Idempotency-Key": "form-1"}
    wrong = await api.post("/leads", json={FIELD: "good-3", "full_name": "Dana"}, headers=headers)
    assert [error["field"] for error in wrong.json()["errors"]] == ["email"]
    assert there.asked == []
    first, again = [await post(api, headers, "json", "good-3") for _ in range(2)]
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["idempotent-replayed"] == "true"
    other = await post(api, {**headers, "Idempotency-Key": "form-2"}, "json", "good-3")
    assert problem(other) == "turnstile"


async def test_of_many_that_send_one_token_at_once_one_gets_in(api: httpx.AsyncClient, keys: Keys) -> None:
    headers = page(keys)
    answers = await asyncio.gather(*(post(api, headers, "json", "good-4") for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [202] + [422] * 19


async def test_a_token_longer_than_any_is_not_even_sent_on(
    api: httpx.AsyncClient, keys: Keys, there: Siteverify
) -> None:
    assert problem(await post(api, page(keys), "json", "good" + "x" * 2048)) == "turnstile"
    assert there.asked == []


def patience_s(token: str) -> float:
    """Short only where there is no end to wait for."""
    return 2.0 if token in ("hang", "drip") else 30.0


@pytest.mark.parametrize("token", OUTAGES)
async def test_an_outage_of_turnstile_loses_no_lead(
    settings: Settings, keys: Keys, there: Siteverify, token: str
) -> None:
    async with checked(settings, keys, there, turnstile_timeout=patience_s(token)) as api:
        assert (await post(api, page(keys), "json", token)).status_code == 202
        metrics = (await api.get("/metrics", headers=bearer(keys.add("watch", "read")))).text
    assert 'leadstream_api_turnstile_total{verdict="unanswered"} 1.0' in metrics
    assert len(there.asked) == 1, "no redirect is followed, and nothing is asked twice"


@pytest.mark.parametrize("token", OUTAGES)
async def test_an_outage_of_turnstile_refuses_where_the_setting_says_so(
    settings: Settings, keys: Keys, there: Siteverify, token: str
) -> None:
    async with checked(
        settings, keys, there, turnstile_timeout=patience_s(token), turnstile_unanswered="refuse"
    ) as api:
        answer = await post(api, page(keys), "json", token)
    assert (answer.status_code, problem(answer)) == (503, "turnstile-unanswered")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_wrong_secret_loses_no_lead_and_is_named_in_the_log(
    settings: Settings, keys: Keys, there: Siteverify
) -> None:
    with structlog.testing.capture_logs() as lines:
        async with checked(settings, keys, there, turnstile_secret="another") as api:
            assert (await post(api, page(keys), "json", "good-5")).status_code == 202
    assert "LEADSTREAM_TURNSTILE_SECRET" in str(lines)
    assert not any(word in str(lines) for word in ("another", "good-5", "dana"))


async def test_the_honeypot_of_a_page_is_watched_in_json_too(settings: Settings, keys: Keys) -> None:
    async with guarded(settings, keys) as api:
        headers = page(keys, honeypot="website")
        answer = await api.post("/leads", json={**LEAD, "website": "https://spam.example"}, headers=headers)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "website")
        for empty in ("", None):
            answer = await api.post("/leads", json={**LEAD, "website": empty, FIELD: "any"}, headers=headers)
            assert answer.status_code == 202, answer.text
