"""Attempts to break in, against an API process over plain sockets, spelled as no well-behaved client would.

docs/threat-model.md lists them. Most start from something that an attacker may well have: a key that may only post
leads, a publishable key, a page on another site, or a place on the network.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.api.access_rig import SITE, Keys
from tests.integration.api.conftest import LEAD
from tests.support.process import ServiceProcess

SUBSCRIBER = b'{"email":"thief@example.org","name":"Thief"}'
FORM = "application/x-www-form-urlencoded"
LEAD_FORM = b"full_name=Eve+Example&email=eve%40example.com"
Headers = list[tuple[str, str]]
Start = Callable[..., tuple[ServiceProcess, str]]


@dataclass(frozen=True)
class House:
    """A running API, its keys, and what is in it: one lead and one subscriber whose names tell them apart."""

    url: str
    keys: Keys
    root: str

    def send(self, method: str, target: str, headers: Headers, body: bytes = b"") -> tuple[int, str]:
        """Sends exactly these lines; Host and Content-Length are added where they are not among them."""
        given = {name.lower() for name, _ in headers}
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.putrequest(method, target, skip_host="host" in given, skip_accept_encoding=True)
            if "content-length" not in given and "transfer-encoding" not in given:
                connection.putheader("Content-Length", str(len(body)))
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def as_root(self, path: str) -> str:
        """What an administrator reads there."""
        return httpx.get(self.url + path, headers={"X-API-Key": self.root}, trust_env=False, timeout=60).text

    def unharmed(self) -> bool:
        """True while nothing was added."""
        return "Thief" not in self.as_root("/subscribers") and "Eve" not in self.as_root("/leads")


@pytest.fixture
def house(api_process: Start, redis_url: str, tmp_path: Path) -> Iterator[House]:
    keys = Keys(tmp_path / "keys.jsonl")
    root = keys.add("root", "admin")
    _, url = api_process(
        redis_url,
        LEADSTREAM_API_KEYS_FILE=str(keys.path),
        LEADSTREAM_DATA_DIR=str(tmp_path / "data"),
        LEADSTREAM_APPEND_DEADLINE="30s",
    )
    with httpx.Client(base_url=url, headers={"X-API-Key": root}, trust_env=False, timeout=60) as client:
        assert client.post("/leads", json=LEAD).status_code == 202
        assert client.post("/subscribers", json={"email": "buyer@example.org", "name": "Pat Buyer"}).status_code == 201
    yield House(url, keys, root)


def key(secret: str) -> tuple[str, str]:
    """The usual header."""
    return "Authorization", f"Bearer {secret}"


SPELLINGS = (
    *("{0}", "{0}/", "{0}//", "/{0}", "/.{0}", "/x/..{0}", "{0}/.", "{0};a=b", "{0}%2F", "{0}%00", "{0}%20"),
    *("{0}?key=1", "{0}?scope=admin", "{0}#x", "http://127.0.0.1{0}", "/health/live/..{0}", "/unsubscribe/..%2F.{0}"),
)


def test_no_spelling_of_a_path_shows_a_key_what_it_may_not_read(house: House) -> None:
    ingest = house.keys.add("site", "ingest")
    for path in ("/leads", "/subscribers", "/stats", "/suppressions", "/streams", "/dead-letters", "/metrics"):
        for spelling in (*(each.format(path) for each in SPELLINGS), path.upper(), path.replace("s", "%73")):
            for headers in ([key(ingest)], []):
                status, text = house.send("GET", spelling, headers)
                assert not 200 <= status < 300, (spelling, status)
                assert not any(word in text for word in ("Dana", "buyer@", "leadstream_api_")), spelling


def test_no_method_and_no_override_changes_what_a_key_may_not_change(house: House) -> None:
    reader = house.keys.add("reader", "read:pii")
    overrides = [("X-HTTP-Method-Override", "POST"), ("X-HTTP-Method", "DELETE"), ("X-Method-Override", "PATCH")]
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "PROPFIND", "QUERY"):
        status, _ = house.send(
            method,
            "/subscribers",
            [key(reader), *overrides, ("Content-Type", "application/json")],
            SUBSCRIBER,
        )
        assert status < 300 if method in ("GET", "HEAD", "OPTIONS") else status >= 400, method
    assert house.unharmed()
    assert "buyer@example.org" in house.as_root("/subscribers")


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "https://evil.example")],
        [("Origin", SITE), ("Origin", "https://evil.example")],
        [("Origin", "https://evil.example"), ("Origin", SITE)],
        [("Origin", SITE + ", https://evil.example")],
        [("Origin", SITE + "/")],
        [("Origin", SITE + "@evil.example")],
        [("Origin", "HTTPS://WWW.EXAMPLE.COM.evil.example")],
        [("Origin", "null")],
        [("Referer", SITE + "/quote")],
        [("X-Origin", SITE), ("X-Forwarded-Host", "www.example.com"), ("Host", "www.example.com")],
        [],
    ],
)
def test_a_publishable_key_is_worth_nothing_on_pages_of_others(house: House, headers: Headers) -> None:
    public = house.keys.add("form", "ingest", origins=[SITE])
    for target, more in ((f"/leads?key={public}", []), ("/leads", [key(public)])):
        status, text = house.send("POST", target, [("Content-Type", FORM), *headers, *more], LEAD_FORM)
        assert status in (400, 403), text
    assert house.unharmed()


def test_a_publishable_key_opens_nothing_but_posting_leads(house: House) -> None:
    public = house.keys.add("form", "ingest", origins=[SITE])
    headers = [key(public), ("Origin", SITE), ("Content-Type", "application/json")]
    for method, target, body in (
        ("GET", "/leads", b""),
        ("POST", "/subscribers", SUBSCRIBER),
        ("POST", "/leads/batch", b'{"full_name":"Eve","email":"eve@example.com"}'),
        ("DELETE", "/leads/00000000-0000-7000-8000-000000000000", b""),
        ("POST", "/login", f"key={public}".encode()),
    ):
        status, text = house.send(method, target, headers, body)
        assert status in (401, 403, 415), (target, text)
    assert house.unharmed()


def test_two_keys_at_once_do_not_add_up(house: House) -> None:
    ingest, reader = house.keys.add("site", "ingest"), house.keys.add("reader", "read")
    for headers in ([key(reader), key(ingest)], [key(reader), ("X-API-Key", ingest)]):
        assert house.send("GET", "/stats", headers)[0] == 401
    status, _ = house.send("GET", f"/stats?key={reader}", [key(ingest)])
    assert status == 403
    assert house.send("GET", "/stats", [("Cookie", f"leadstream_session={reader}; key={reader}")])[0] == 401


@pytest.mark.parametrize("kind", ["text/plain", FORM, "application/json", "multipart/form-data; boundary=b", ""])
def test_another_site_s_page_changes_nothing_with_a_visitor_s_cookie(house: House, kind: str) -> None:
    """Its page has the cookie sent along, a token of a session of its own, and any content type it likes."""
    sessions = []
    for name in ("victim", "attacker"):
        form = f"key={house.keys.add(name, 'admin')}".encode()
        connection = http.client.HTTPConnection(urlsplit(house.url).netloc, timeout=60)
        connection.request("POST", "/login", form, {"Content-Type": FORM})
        sessions.append(str(connection.getresponse().headers["Set-Cookie"]).partition(";")[0])
        connection.close()
    victim, attacker = sessions
    token = _token(house, attacker)
    sent = [("Cookie", victim), ("Content-Type", kind)]
    for more in ([], [("X-CSRF-Token", token)], [("X-CSRF-Token", token), ("X-CSRF-Token", "")], [("Origin", "null")]):
        status, text = house.send("POST", f"/subscribers?csrf_token={token}", [*sent, *more], SUBSCRIBER)
        assert status == 403, text
        assert house.send("POST", "/leads", [*sent, *more], LEAD_FORM + f"&csrf_token={token}".encode())[0] == 403
    assert house.unharmed()
    status, text = house.send("POST", "/subscribers", [("Cookie", attacker), ("X-CSRF-Token", token)], SUBSCRIBER)
    assert status == 415, f"the token is real: {text}"


def _token(house: House, cookie: str) -> str:
    from leadstream_api.access.sessions import Signer, load_secret
    from leadstream_events.subscribers import utc_now

    signer = Signer(load_secret(house.keys.path.parent / "data"))
    session = signer.read(cookie.partition("=")[2], utc_now())
    assert session
    return signer.csrf_token(session)


def test_no_forged_address_and_no_other_spelling_of_a_key_gets_past_its_limit(house: House) -> None:
    secret = house.keys.add("site", "ingest", limit="10/min")
    spellings: tuple[Headers, ...] = (
        [key(secret)],
        [("X-API-Key", secret)],
        [("Authorization", f"bearer   {secret} ")],
        [key(secret), ("X-API-Key", secret)],
    )

    def post(number: int) -> int:
        forged = [("X-Forwarded-For", f"203.0.113.{number}"), ("Forwarded", f"for=203.0.113.{number}")]
        headers = [
            *spellings[number % len(spellings)],
            *forged,
            ("Content-Type", FORM),
            ("Idempotency-Key", str(number)),
        ]
        return house.send("POST", "/leads" + "/" * (number % 2), headers, LEAD_FORM)[0]

    with ThreadPoolExecutor(20) as many:
        answers = list(many.map(post, range(60)))
    assert sorted(answers) == [202] * 10 + [429] * 50


def test_forged_addresses_give_nobody_more_tries_to_log_in(house: House) -> None:
    def attempt(number: int) -> int:
        headers = [("Content-Type", FORM), ("X-Forwarded-For", f"203.0.113.{number}"), ("X-Real-IP", "203.0.113.9")]
        return house.send("POST", "/login", headers, b"key=ls_guess%d" % number)[0]

    with ThreadPoolExecutor(10) as many:
        assert sorted(many.map(attempt, range(30))) == [401] * 10 + [429] * 20


def test_a_rotated_key_shares_the_limit_of_the_one_before(house: House) -> None:
    both = [house.keys.add("site", "ingest", limit="4/min") for _ in range(2)]
    headers: list[Headers] = [[key(secret), ("Content-Type", FORM)] for secret in both * 4]
    assert sorted(house.send("POST", "/leads", each, LEAD_FORM)[0] for each in headers) == [202] * 4 + [429] * 4


def test_a_second_request_hidden_in_the_first_is_not_answered(house: House) -> None:
    """Two lengths, or a length and chunks, would let a proxy and the API part the bytes differently (RFC 9112)."""
    hidden = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    for headers in (
        [("Content-Length", "5"), ("Content-Length", "6")],
        [("Content-Length", str(len(hidden))), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "chunked, identity")],
        [("Transfer-Encoding", "xchunked")],
    ):
        status, text = house.send("POST", "/leads", [("Content-Type", FORM), *headers], hidden)
        assert status in (400, 401), text
        assert "leadstream_api_" not in text


def test_without_keys_nothing_is_reached_by_a_name_or_a_proxy(
    api_process: Start, redis_url: str, tmp_path: Path
) -> None:
    _, url = api_process(redis_url)
    house = House(url, Keys(tmp_path / "none"), "")
    host = urlsplit(url).netloc
    for headers in (
        [("Host", "evil.example")],
        [("Host", f"{host}.evil.example")],
        [("Host", f"evil.example@{host}")],
        [("Host", host), ("Host", "evil.example")],
        [("Host", host), ("X-Forwarded-For", "127.0.0.1")],
        [("Host", host), ("Forwarded", "for=127.0.0.1")],
        [("Host", host), ("X-Real-IP", "127.0.0.1")],
    ):
        status, _ = house.send("POST", "/leads", [*headers, ("Content-Type", FORM)], LEAD_FORM)
        assert status in (400, 403, 421), headers
    assert httpx.get(url + "/leads", trust_env=False, timeout=60).json()["items"] == []
