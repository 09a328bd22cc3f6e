"""Where a browser says that a request comes from."""

from __future__ import annotations

import pytest

from leadstream_api.access.door import stranger
from leadstream_api.access.origins import Provenance, host_name, is_loopback_origin, local_path, origin_of


@pytest.mark.parametrize(
    ("sent", "cross"),
    [
        (Provenance("localhost:8000"), False),  # no browser
        (Provenance("localhost:8000", "http://localhost:8000"), False),
        (Provenance("localhost:8000", "http://localhost:8000", "same-origin"), False),
        (Provenance("localhost:8000", None, "none"), False),
        (Provenance("localhost:8000", "http://localhost:3000"), True),
        (Provenance("localhost:8000", "http://localhost:3000", "same-site"), True),
        (Provenance("localhost:8000", "https://evil.example", "cross-site"), True),
        (Provenance("localhost:8000", None, "cross-site"), True),
        (Provenance("localhost:8000", "null"), True),
        (Provenance("localhost:8000", "http://localhost:8000, https://evil.example"), True),
        (Provenance("localhost:8000", "http://localhost:8000@evil.example"), True),
        (Provenance("localhost:8000", "http://localhost:8000.evil.example"), True),
        (Provenance("example.com", "https://example.com"), False),
        (Provenance("example.com:443", "https://example.com"), False),
        (Provenance("127.0.0.1:9", "https://leads.example.com"), False),  # a proxy changed Host; it is PUBLIC_URL
    ],
)
def test_only_pages_of_our_own_origin_are_not_cross_site(sent: Provenance, cross: bool) -> None:
    assert sent.cross_site("https://leads.example.com") is cross


@pytest.mark.parametrize(
    "target", ["//evil.example", "/\\evil.example", "https://evil.example", "", None, "/a\\b", "/\t/x"]
)
def test_a_login_never_leads_to_another_site(target: str | None) -> None:
    assert local_path(target) == "/"


def test_a_login_leads_back_to_a_page_with_its_query() -> None:
    assert local_path("/leads?state=CA&cursor=a_b-") == "/leads?state=CA&cursor=a_b-"


def test_origins_have_one_spelling() -> None:
    assert origin_of("HTTPS://Example.com:443/") == "https://example.com"
    assert origin_of("http://[::1]:8000") == "http://[::1]:8000"
    assert [origin_of(each) for each in ("null", "file:///x", "https://a@b", "http://a:99999", "//x", "http://")] == [
        None
    ] * 6
    assert is_loopback_origin("http://127.9.9.9:1") and is_loopback_origin("http://app.localhost")
    assert not is_loopback_origin("http://localhost.evil.example")


@pytest.mark.parametrize("host", ["", "a b", "[::1", "localhost:x", "localhost@evil", "localhost, evil", "\xff"])
def test_what_is_no_host_has_no_name(host: str) -> None:
    assert host_name(host) is None


def _from(address: str, host: str, *more: tuple[bytes, bytes]) -> int:
    scope = {"client": (address, 1) if address else None, "headers": [(b"host", host.encode("latin-1")), *more]}
    found = stranger(scope)  # type: ignore[arg-type]
    return found.status if found else 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", ""])
@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "x.localhost", "localhost."]
)
def test_without_keys_this_machine_gets_in(address: str, host: str) -> None:
    assert _from(address, host) == 0


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "0.0.0.0", "10.0.0.1", "", "2130706433"]
)
def test_without_keys_a_foreign_host_is_a_421_whatever_it_resolves_to(host: str) -> None:
    assert _from("127.0.0.1", host) == 421


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "fe80::1", "0.0.0.0"])
def test_without_keys_other_machines_are_refused_though_they_say_localhost(address: str) -> None:
    assert _from(address, "localhost") == 403


@pytest.mark.parametrize("name", [b"x-forwarded-for", b"forwarded", b"x-real-ip", b"x-forwarded-host"])
def test_without_keys_what_came_through_a_proxy_is_refused(name: bytes) -> None:
    assert _from("127.0.0.1", "localhost", (name, b"127.0.0.1")) == 403
