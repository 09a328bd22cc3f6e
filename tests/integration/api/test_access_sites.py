"""What pages of other sites can do: CORS for publishable keys, and the API of this machine without keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from leadstream_events.settings import Settings
from leadstream_events.subscribers import utc_now
from tests.integration.api.access_rig import SITE, Keys, bearer, guarded, problem
from tests.integration.api.conftest import LEAD, api_client

SUBSCRIBER = {"email": "buyer@example.org", "name": "Pat Buyer"}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.jsonl")


@pytest.fixture
async def api(settings: Settings, keys: Keys) -> AsyncIterator[httpx.AsyncClient]:
    async with guarded(settings, keys) as client:
        yield client


@pytest.fixture
async def open_api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The API without keys."""
    async with api_client(settings) as client:
        yield client


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


def cors(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


async def test_a_preflight_lets_the_origins_of_live_publishable_keys_post_leads(
    api: httpx.AsyncClient, keys: Keys
) -> None:
    secret = keys.add("form", "ingest", origins=[SITE])
    answer = await api.options("/leads", headers={**PREFLIGHT, "Origin": SITE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, SITE)
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["vary"] == "Origin"
    keys.change(secret, revoked=utc_now())
    assert cors(await api.options("/leads", headers={**PREFLIGHT, "Origin": SITE})) == {}


@pytest.mark.parametrize("origin", ["https://e.example", "null", SITE + ".e.example", "http://www.example.com", "*"])
async def test_other_origins_get_no_cors_header_at_all(api: httpx.AsyncClient, keys: Keys, origin: str) -> None:
    secret = keys.add("form", "ingest", origins=[SITE])
    headers = {"Origin": origin}
    assert cors(await api.options("/leads", headers={**PREFLIGHT, **headers})) == {}
    assert cors(await api.post("/leads", json=LEAD, headers={**headers, **bearer(secret)})) == {}
    assert cors(await api.get("/leads", headers={**headers, **bearer(keys.add("r", "read"))})) == {}


async def test_cors_is_for_posting_leads_and_for_nothing_else(api: httpx.AsyncClient, keys: Keys) -> None:
    secret = keys.add("form", "ingest", origins=[SITE])
    for path, method in (("/leads", "GET"), ("/leads", "DELETE"), ("/leads/batch", "POST"), ("/subscribers", "POST")):
        headers = {**PREFLIGHT, "Origin": SITE, "Access-Control-Request-Method": method}
        assert cors(await api.options(path, headers=headers)) == {}
    taken = await api.post("/leads", json=LEAD, headers={"Origin": SITE, **bearer(secret)})
    assert (taken.status_code, taken.headers["access-control-allow-origin"]) == (202, SITE)
    assert "Location" in taken.headers["access-control-expose-headers"]
    wrong = await api.post("/leads", json={}, headers={"Origin": SITE, **bearer(secret)})
    assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (422, SITE), "a script reads errors too"


async def test_without_keys_a_rebound_name_reaches_nothing(open_api: httpx.AsyncClient) -> None:
    for path in ("/leads", "/health/live", "/login", "/nope"):
        answer = await open_api.get(path, headers={"Host": "evil.example"})
        assert (answer.status_code, problem(answer)) == (421, "host")
        assert "LEADSTREAM_API_KEYS_FILE" in answer.json()["detail"]
    assert (await open_api.post("/leads", json=LEAD, headers={"Host": "evil.example"})).status_code == 421
    assert (await open_api.get("/leads")).json()["items"] == []


async def test_without_keys_pages_of_other_sites_change_nothing(open_api: httpx.AsyncClient) -> None:
    targets = (("POST", "/leads"), ("POST", "/leads/batch"), ("POST", "/subscribers"), ("DELETE", "/subscribers/x"))
    form = {"content-type": "application/x-www-form-urlencoded"}
    for more in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        for method, path in targets:
            body = b"full_name=x&email=x%40example.com"
            answer = await open_api.request(method, path, content=body, headers={**form, **more})
            assert (answer.status_code, problem(answer)) == (403, "cross-site"), (more, path)
    assert (await open_api.get("/leads")).json()["items"] == []


async def test_without_keys_a_page_on_this_machine_may_post_leads_and_nothing_else(open_api: httpx.AsyncClient) -> None:
    local = {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}
    taken = await open_api.post("/leads", data=LEAD, headers=local)
    assert (taken.status_code, taken.headers["access-control-allow-origin"]) == (202, "http://localhost:3000")
    assert (await open_api.post("/subscribers", json=SUBSCRIBER, headers=local)).status_code == 403
    assert cors(await open_api.get("/leads", headers=local)) == {}


async def test_without_keys_everything_is_allowed_from_here_and_there_is_nothing_to_log_in_to(
    open_api: httpx.AsyncClient,
) -> None:
    assert (await open_api.post("/subscribers", json=SUBSCRIBER)).status_code == 201
    assert "buyer@example.org" in (await open_api.get("/subscribers")).text
    answer = await open_api.get("/login", params={"next": "/streams"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/streams")
    assert "set-cookie" not in (await open_api.post("/login", data={"key": "x"})).headers
