"""What a browser may be made to do under a session: forged logins, cookies and changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from leadstream_api.access.headers import CSP
from leadstream_api.routing import Incoming
from leadstream_events.settings import Settings
from leadstream_events.subscribers import utc_now
from tests.integration.api.access_rig import SITE, Keys, bearer, guarded, log_in, problem
from tests.integration.api.conftest import LEAD

COOKIE = "leadstream_session"
PAGE = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Mode": "navigate"}
SUBSCRIBER = {"email": "buyer@example.org", "name": "Pat Buyer"}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.jsonl")


@pytest.fixture
async def api(settings: Settings, keys: Keys) -> AsyncIterator[httpx.AsyncClient]:
    async with guarded(settings, keys) as client:
        yield client


def token_of(api: httpx.AsyncClient, data_dir: Path) -> str:
    """What a page of ours would hold: made from the secret, as the API makes it."""
    from leadstream_api.access.sessions import Signer, load_secret

    signer = Signer(load_secret(data_dir))
    session = signer.read(api.cookies[COOKIE], utc_now())
    assert session
    return signer.csrf_token(session)


async def test_a_login_sets_a_cookie_that_scripts_and_other_sites_do_not_get_and_leads_back(
    api: httpx.AsyncClient, keys: Keys
) -> None:
    secret = keys.add("ops", "read")
    assert (await api.get("/stats", headers=PAGE)).headers["location"] == "/login?next=%2Fstats"
    answer = await log_in(api, secret)
    assert (answer.status_code, answer.headers["location"]) == (303, "/streams")
    attributes = answer.headers["set-cookie"].split("; ")
    assert {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=43200"} <= set(attributes)
    assert secret not in answer.headers["set-cookie"]
    assert (await api.get("/stats")).status_code == 200


async def test_under_https_the_cookie_is_secure_and_bound_to_the_host(settings: Settings, keys: Keys) -> None:
    async with guarded(settings, keys, public_url="https://leads.example.com") as api:
        cookie = (await log_in(api, keys.add("ops", "read"))).headers["set-cookie"]
    assert cookie.startswith("__Host-leadstream_session=")
    assert "Secure" in cookie.split("; ")
    assert "Domain" not in cookie


async def test_wrong_keys_do_not_log_in_and_learn_nothing(api: httpx.AsyncClient, keys: Keys) -> None:
    revoked = keys.add("old", "admin", revoked=utc_now())
    for secret in ("", "ls_wrong", revoked, keys.add("site", "ingest"), keys.add("f", "ingest", origins=[SITE])):
        answer = await log_in(api, secret)
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        assert 'role="alert"' in answer.text
        assert not secret or secret not in answer.text


async def test_logins_are_throttled_per_address_also_with_the_right_key(api: httpx.AsyncClient, keys: Keys) -> None:
    secret = keys.add("ops", "read")
    assert [(await log_in(api, "ls_wrong")).status_code for _ in range(10)] == [401] * 10
    answer = await log_in(api, secret)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert (await api.get("/stats", headers=bearer(secret))).status_code == 200, "programs go on"


@pytest.mark.parametrize("where", ["//evil.example/", "https://e.example/", "/\\evil.example", "javascript:alert(1)"])
async def test_a_login_leads_to_no_other_site(api: httpx.AsyncClient, keys: Keys, where: str) -> None:
    answer = await api.post("/login", data={"key": keys.add("ops", "read"), "next": where})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    page = await api.get("/login", params={"next": '/"><script>'})
    assert "<script>" not in page.text


async def test_another_site_cannot_log_a_browser_in(api: httpx.AsyncClient, keys: Keys) -> None:
    form = {"key": keys.add("evil", "read")}
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = await api.post("/login", data=form, headers=headers)
        assert (answer.status_code, problem(answer)) == (403, "cross-site")


@pytest.mark.parametrize("change", [{"revoked": utc_now()}, {"expires": utc_now() - timedelta(hours=1)}])
async def test_a_session_ends_with_its_key(api: httpx.AsyncClient, keys: Keys, change: dict[str, object]) -> None:
    secret = keys.add("ops", "read")
    await log_in(api, secret)
    assert (await api.get("/stats")).status_code == 200
    keys.change(secret, **change)
    assert (await api.get("/stats")).status_code == 401


async def test_an_answer_without_an_end_can_ask_whether_the_session_still_is(settings: Settings, keys: Keys) -> None:
    from litestar import get

    from leadstream_api.access import Scope, require, still_may
    from leadstream_api.app import create_app

    secret = keys.add("ops", "read")

    @get("/watch", guards=[require(Scope.READ)])
    async def watch(request: Incoming) -> list[bool]:
        before = still_may(request, Scope.READ)
        keys.change(secret, revoked=utc_now())
        return [before, still_may(request, Scope.READ)]

    app = create_app(keys.settings(settings))
    app.register(watch)
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/watch", headers=bearer(secret))).json() == [True, False]


async def test_a_session_has_the_scopes_that_its_key_has_now(
    api: httpx.AsyncClient, keys: Keys, settings: Settings
) -> None:
    secret = keys.add("ops", "admin")
    await log_in(api, secret)
    headers = {"X-CSRF-Token": token_of(api, settings.data_dir)}
    assert (await api.post("/subscribers", json=SUBSCRIBER, headers=headers)).status_code == 201
    keys.change(secret, scopes=frozenset(("read",)))
    answer = await api.post("/subscribers", json=SUBSCRIBER, headers=headers)
    assert (answer.status_code, problem(answer)) == (403, "scope-missing")


async def test_a_copied_cookie_is_worth_nothing_after_the_sign_out(
    api: httpx.AsyncClient, keys: Keys, settings: Settings
) -> None:
    await log_in(api, keys.add("ops", "read"))
    copied = {"Cookie": f"{COOKIE}={api.cookies[COOKIE]}"}
    answer = await api.post("/logout")
    assert (answer.status_code, problem(answer)) == (403, "csrf"), "another site cannot sign anybody out"
    answer = await api.post("/logout", data={"csrf_token": token_of(api, settings.data_dir)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert COOKIE not in api.cookies
    assert (await api.get("/stats", headers=copied)).status_code == 401


async def test_a_tampered_cookie_is_no_session(api: httpx.AsyncClient, keys: Keys) -> None:
    reader, root = keys.add("ops", "read"), keys.add("root", "admin")
    await log_in(api, reader)
    cookie = api.cookies[COOKIE]
    key_id, expires, nonce, mac = cookie.split(".")
    from leadstream_api.access.keys import digest

    forged = (
        ".".join((digest(root)[:16], expires, nonce, mac)),
        ".".join((key_id, str(int(expires) + 1), nonce, mac)),
        ".".join((key_id, expires, nonce[::-1], mac)),
        ".".join((key_id, expires, nonce, "0" * 64)),
        ".".join((key_id, expires, nonce, "")),
        "",
        "." * 10,
        "x" * 50_000,
    )
    api.cookies.clear()
    for value in forged:
        assert (await api.get("/stats", headers={"Cookie": f"{COOKIE}={value}"})).status_code == 401
    beside_others = {"Cookie": f'a=1; b={{"x": "y"}}; c; {COOKIE}={cookie}; d=2'}
    assert (await api.get("/stats", headers=beside_others)).status_code == 200


async def test_a_change_under_a_session_needs_the_token_of_this_very_session(
    api: httpx.AsyncClient, keys: Keys, settings: Settings
) -> None:
    secret = keys.add("ops", "admin")
    await log_in(api, secret)
    stolen = token_of(api, settings.data_dir)
    await log_in(api, secret)
    own = token_of(api, settings.data_dir)
    for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": stolen}, {"X-CSRF-Token": own[:-1]}):
        for method, path in (("POST", "/subscribers"), ("PATCH", "/subscribers/x"), ("DELETE", "/subscribers/x")):
            answer = await api.request(method, path, json=SUBSCRIBER, headers=headers)
            assert (answer.status_code, problem(answer)) == (403, "csrf")
    good = {"X-CSRF-Token": own}
    for more in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
        answer = await api.post("/subscribers", json=SUBSCRIBER, headers={**good, **more})
        assert (answer.status_code, problem(answer)) == (403, "cross-site")
    assert (await api.get("/subscribers")).json()["items"] == []
    assert (await api.post("/subscribers", json=SUBSCRIBER, headers=good)).status_code == 201


@pytest.mark.parametrize("multipart", [False, True])
async def test_a_form_brings_the_token_in_a_field_which_is_not_kept(
    api: httpx.AsyncClient, keys: Keys, settings: Settings, multipart: bool
) -> None:
    await log_in(api, keys.add("ops", "admin"))
    fields = {**LEAD, "csrf_token": token_of(api, settings.data_dir)}
    sent = {"files": {name: (None, value) for name, value in fields.items()}} if multipart else {"data": fields}
    answer = await api.post("/leads", **sent)
    assert answer.status_code == 202, answer.text
    assert (await api.get(answer.json()["location"])).json()["lead"]["metadata"] == {}
    del fields["csrf_token"]
    sent = {"files": {name: (None, value) for name, value in fields.items()}} if multipart else {"data": fields}
    assert (await api.post("/leads", **sent)).status_code == 403


async def test_a_key_in_a_header_needs_no_token_and_a_wrong_one_is_not_rescued_by_a_cookie(
    api: httpx.AsyncClient, keys: Keys
) -> None:
    secret = keys.add("ops", "admin")
    await log_in(api, secret)
    assert (await api.post("/subscribers", json=SUBSCRIBER, headers=bearer(secret))).status_code == 201
    assert (await api.get("/stats", headers=bearer("ls_wrong"))).status_code == 401


async def test_pages_carry_a_strict_policy_and_nothing_is_kept_or_sniffed(api: httpx.AsyncClient) -> None:
    page = await api.get("/login")
    assert page.headers["content-security-policy"] == CSP
    assert "unsafe" not in CSP
    assert not any(word in page.text for word in ("<script", "<style", "style=", " onclick"))
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    for answer in (page, await api.get("/stats"), await api.get("/nope")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
