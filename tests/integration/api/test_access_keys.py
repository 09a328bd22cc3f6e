"""What keys open and what they do not, on every route."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from leadstream_api.access.guards import Require
from leadstream_api.access.scopes import Scope, with_implied
from leadstream_api.app import create_app
from leadstream_events.settings import Settings
from leadstream_events.subscribers import utc_now
from tests.integration.api.access_rig import SITE, Keys, bearer, guarded, problem
from tests.integration.api.conftest import LEAD
from tests.support.process import ServiceProcess
from tests.support.redis_server import ServerFactory
from tests.support.waiting import DEADLINE_S


def guarded_routes() -> list[tuple[str, str, Scope]]:
    """Method, path and scope of every route that is not open; parts of the path are made up."""
    handlers = [(route, handler) for route in create_app(Settings()).routes for handler in _handlers(route)]
    return sorted(
        (str(method), re.sub(r"\{[^}]+\}", "1", route.path), guard.scope)
        for route, handler in handlers
        for method in handler.http_methods
        for guard in handler.resolve_guards()
        if isinstance(guard, Require) and guard.scope is not None and method != "OPTIONS"
    )


def _handlers(route: object) -> list[HTTPRouteHandler]:
    assert isinstance(route, HTTPRoute)
    return list(route.route_handlers)


ROUTES = guarded_routes()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.jsonl")


@pytest.fixture
async def api(settings: Settings, keys: Keys) -> AsyncIterator[httpx.AsyncClient]:
    async with guarded(settings, keys) as client:
        yield client


async def test_no_route_but_the_open_ones_answers_without_a_key(api: httpx.AsyncClient) -> None:
    assert len(ROUTES) >= 25
    for method, path, _ in ROUTES:
        answer = await api.request(method, path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="leadstream"'), path
    for path in ("/health/live", "/health/ready", "/schema", "/login"):
        assert (await api.get(path)).status_code == 200, path


async def test_every_route_refuses_every_key_without_its_scope_and_names_the_scope(
    api: httpx.AsyncClient, keys: Keys
) -> None:
    secrets = {scope: keys.add(scope.name.lower(), scope) for scope in Scope}
    tried = 0
    for (method, path, wanted), scope in itertools.product(ROUTES, Scope):
        held = wanted in with_implied(frozenset((scope,)))
        if held and method == "GET" and path.endswith("/events"):
            continue  # a stream of events has no end to wait for
        answer = await api.request(method, path, headers=bearer(secrets[scope]))
        if held:
            assert answer.status_code not in (401, 403), (method, path, scope)
            continue
        tried += 1
        assert answer.status_code == 403, (method, path, scope)
        if method != "HEAD":
            assert problem(answer) == "scope-missing"
            assert wanted in answer.json()["detail"]
        assert f'scope="{wanted}"' in answer.headers["www-authenticate"]
    assert tried >= 25


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer ls_wrong"},
        {"Authorization": "Bearer "},
        {"X-API-Key": "ls_wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": "ls_" + "é" * 43},
        {"Authorization": "Bearer " + "x" * 60_000},
    ],
)
async def test_a_wrong_key_is_a_401(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    raw = {name: value.encode() for name, value in headers.items()}
    answer = await api.get("/stats", headers=raw)  # type: ignore[arg-type]  # bytes: not every value is ASCII
    assert (answer.status_code, problem(answer)) == (401, "unknown-key")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_both_headers_take_a_key_but_two_different_keys_are_refused(api: httpx.AsyncClient, keys: Keys) -> None:
    one, other = keys.add("one", "read"), keys.add("other", "admin")
    assert (await api.get("/stats", headers={"X-API-Key": one})).status_code == 200
    assert (await api.get("/stats", headers={"Authorization": f"bEaReR  {one}"})).status_code == 200
    assert (await api.get("/stats", headers={"X-API-Key": one, **bearer(one)})).status_code == 200
    answer = await api.get("/stats", headers={"X-API-Key": one, **bearer(other)})
    assert (answer.status_code, problem(answer)) == (401, "several-keys")


async def test_a_key_ends_when_it_is_revoked_or_expires_though_the_api_goes_on(
    api: httpx.AsyncClient, keys: Keys
) -> None:
    secret = keys.add("site", "read")
    assert (await api.get("/stats", headers=bearer(secret))).status_code == 200
    for change, kind in (
        ({"expires": utc_now() - timedelta(seconds=1)}, "expired-key"),
        ({"expires": None, "revoked": utc_now()}, "revoked-key"),
    ):
        keys.change(secret, **change)
        answer = await api.get("/stats", headers=bearer(secret))
        assert (answer.status_code, problem(answer)) == (401, kind)
    keys.change(secret, expires=None, revoked=None)
    assert (await api.get("/stats", headers=bearer(secret))).status_code == 200


async def test_a_keys_file_that_becomes_wrong_locks_nobody_out_and_lets_nobody_in(
    api: httpx.AsyncClient, keys: Keys
) -> None:
    secret = keys.add("site", "read")
    assert (await api.get("/stats", headers=bearer(secret))).status_code == 200
    keys.path.write_text("{")
    assert (await api.get("/stats", headers=bearer(secret))).status_code == 200
    assert (await api.get("/stats", headers=bearer("ls_wrong"))).status_code == 401
    keys.path.unlink()
    assert (await api.get("/stats", headers=bearer(secret))).status_code == 200
    assert (await api.get("/stats")).status_code == 401


async def test_a_route_that_declares_nothing_is_closed_even_to_administrators(keys: Keys, settings: Settings) -> None:
    from litestar import get

    @get("/forgotten", sync_to_thread=False)
    def forgotten() -> str:
        return "secret"

    app = create_app(keys.settings(settings))
    app.register(forgotten)
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/forgotten", headers=bearer(keys.add("root", "admin")))
    assert (answer.status_code, problem(answer)) == (403, "no-scope-declared")


async def test_personal_data_is_masked_for_read_and_whole_for_read_pii(api: httpx.AsyncClient, keys: Keys) -> None:
    root, reader, insider = keys.add("root", "admin"), keys.add("r", "read"), keys.add("p", "read:pii")
    lead = {
        **LEAD,
        "phone_number": "+1 555 010 0001",
        "birth_date": "1963-02-06",
        "vehicles": [{"year": 2023, "make": "Tesla", "model": "Model 3", "vin": "1M8GDM9AXKP042788"}],
        "metadata": {"note": "call after six"},
    }
    made = await api.post("/leads", json=lead, headers=bearer(root))
    buyer = {"email": "buyer@example.org", "name": "Pat Buyer"}
    subscriber = (await api.post("/subscribers", json=buyer, headers=bearer(root))).json()["id"]
    await api.post("/suppressions", json={"address": "gone@example.net", "reason": "asked"}, headers=bearer(root))
    paths = ("/leads", made.json()["location"], "/subscribers", f"/subscribers/{subscriber}", "/suppressions")
    personal = ("Dana", "dana@", "010 0001", "1963-02", "KP042788", "after six", "buyer@", "Pat", "gone@")
    seen = {
        secret: [(await api.get(path, headers=bearer(secret))).text for path in paths] for secret in (reader, insider)
    }
    assert [word for word in personal if any(word in text for text in seen[reader])] == []
    assert [word for word in personal if not any(word in text for text in seen[insider])] == []
    assert [set(json.loads(text)) for text in seen[reader]] == [set(json.loads(text)) for text in seen[insider]]
    assert "d***@example.com" in seen[reader][0]
    assert (await api.get("/stats/subscribers", headers=bearer(reader))).text.count("Pat") == 0


async def test_idempotency_keys_of_two_callers_never_meet(api: httpx.AsyncClient, keys: Keys) -> None:
    first, second = keys.add("first", "ingest"), keys.add("second", "ingest")
    rotated = keys.add("first", "ingest")

    async def submit(secret: str) -> httpx.Response:
        return await api.post("/leads", json=LEAD, headers={**bearer(secret), "Idempotency-Key": "1"})

    answers = [await submit(first), await submit(second), await submit(rotated)]
    ids = [answer.json()["lead_id"] for answer in answers]
    assert ids[0] != ids[1]
    assert ids[0] == ids[2], "a rotated key is the same caller"
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, None, "true"]


async def test_a_secret_key_in_the_address_is_refused_and_a_publishable_one_is_taken(
    api: httpx.AsyncClient, keys: Keys
) -> None:
    secret, public = keys.add("site", "ingest"), keys.add("form", "ingest", origins=[SITE])
    answer = await api.post("/leads", params={"key": secret}, data=LEAD)
    assert (answer.status_code, problem(answer)) == (401, "key-in-address")
    answer = await api.post("/leads", params={"key": public}, data=LEAD, headers={"Origin": SITE})
    assert answer.status_code == 202
    answer = await api.get("/leads", params={"key": keys.add("root", "admin")})
    assert answer.status_code == 401


async def test_a_publishable_key_opens_one_route_from_its_origins_only(api: httpx.AsyncClient, keys: Keys) -> None:
    public = keys.add("form", "ingest", origins=[SITE])
    for origin in (
        None,
        "https://evil.example",
        "null",
        SITE + ".evil.example",
        "http://www.example.com",
        SITE + ":444",
    ):
        headers = {**bearer(public), **({"Origin": origin} if origin else {})}
        answer = await api.post("/leads", json=LEAD, headers=headers)
        assert (answer.status_code, problem(answer)) == (403, "origin"), origin
    batch = {**bearer(public), "Origin": SITE, "Content-Type": "application/x-ndjson"}
    answer = await api.post("/leads/batch", content=b"{}", headers=batch)
    assert (answer.status_code, problem(answer)) == (403, "publishable-key")
    assert (await api.post("/leads", json=LEAD, headers={**bearer(public), "Origin": SITE})).status_code == 202


async def test_a_filled_honeypot_is_a_422_that_says_so_and_an_empty_one_leaves_no_trace(
    api: httpx.AsyncClient, keys: Keys
) -> None:
    public = keys.add("form", "ingest", origins=[SITE], honeypot="website")
    headers = {**bearer(public), "Origin": SITE}
    answer = await api.post("/leads", data={**LEAD, "website": "https://spam.example"}, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "website")
    answer = await api.post("/leads", data={**LEAD, "website": "", "note": "x"}, headers=headers)
    root = bearer(keys.add("root", "admin"))
    stored = (await api.get(answer.json()["location"], headers=root)).json()["lead"]["metadata"]
    assert stored == {"note": "x"}
    assert len((await api.get("/leads", headers=root)).json()["items"]) == 1


async def test_the_limit_of_a_key_is_exact_over_two_apis_and_fifty_requests_at_once(
    settings: Settings, keys: Keys
) -> None:
    secret, free = keys.add("site", "ingest", limit="20/min"), keys.add("other", "ingest")
    async with guarded(settings, keys) as one, guarded(settings, keys) as other:
        asked = [api.post("/leads", json=LEAD, headers=bearer(secret)) for api in (one, other) * 25]
        answers = await asyncio.gather(*asked)
        refused = [answer for answer in answers if answer.status_code == 429]
        assert sorted(answer.status_code for answer in answers) == [202] * 20 + [429] * 30
        assert {problem(answer) for answer in refused} == {"too-many-requests"}
        assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
        assert (await one.post("/leads", json=LEAD, headers=bearer(free))).status_code == 202


async def test_without_redis_a_lead_is_taken_and_the_limit_is_kept(
    fresh_server: ServerFactory, tmp_path: Path, keys: Keys
) -> None:
    server = fresh_server()
    secret = keys.add("site", "ingest", limit="6/min")
    settings = Settings(redis_url=server.url, data_dir=tmp_path / "data", rate_limit=None)
    async with guarded(settings, keys) as api:
        before = [await api.post("/leads", json=LEAD, headers=bearer(secret)) for _ in range(2)]
        server.stop()
        after = [await api.post("/leads", json=LEAD, headers=bearer(secret)) for _ in range(6)]
    assert [answer.json()["mode"] for answer in before] == ["stream"] * 2
    assert [answer.status_code for answer in after] == [202] * 4 + [429] * 2
    assert {answer.json()["mode"] for answer in after[:4]} == {"fallback"}


def test_an_api_with_a_wrong_keys_file_does_not_start_and_says_which_line(tmp_path: Path) -> None:
    from leadstream_events.errors import ConfigurationError

    path = tmp_path / "keys"
    path.write_text('# ours\n{"name": "x"}\n')
    with pytest.raises(ConfigurationError, match="line 2"):
        create_app(Settings(api_keys_file=path))


def test_with_keys_a_process_serves_other_hosts_too(
    api_process: Callable[..., tuple[ServiceProcess, str]], redis_url: str, keys: Keys
) -> None:
    secret = keys.add("site", "read")
    _, url = api_process(
        redis_url, LEADSTREAM_API_KEYS_FILE=str(keys.path), LEADSTREAM_DATA_DIR=str(keys.path.parent / "data")
    )
    headers = {**bearer(secret), "Host": "leads.example.com"}
    assert httpx.get(f"{url}/stats", headers=headers, trust_env=False, timeout=DEADLINE_S).status_code == 200
    assert httpx.get(f"{url}/stats", trust_env=False, timeout=DEADLINE_S).status_code == 401
