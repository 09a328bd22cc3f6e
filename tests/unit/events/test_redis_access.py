"""Login and TLS files beside the address: what does not fit is one line that names the setting and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadstream_events.errors import ConfigurationError
from leadstream_events.redis_access import RedisAccess
from leadstream_events.redis_client import connect
from leadstream_events.settings import load_settings

TLS = "rediss://host:1/0"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"redis_url": "redis://me@host:1/0", "redis_username": "you", "redis_password": "x"},
            "LEADSTREAM_REDIS_USERNAME: LEADSTREAM_REDIS_URL names another user; name one of them",
        ),
        (
            {"redis_url": "redis://:hunter2@host:1/0", "redis_password": "hunter3"},
            "LEADSTREAM_REDIS_PASSWORD: LEADSTREAM_REDIS_URL holds another password; keep one of them",
        ),
        (
            {"redis_url": "redis://:hunter2@host:1/0", "redis_password_file": "f"},
            "LEADSTREAM_REDIS_PASSWORD_FILE: LEADSTREAM_REDIS_URL holds a password too; take it out of the URL",
        ),
        (
            {"redis_password": "hunter2", "redis_password_file": "f"},
            "LEADSTREAM_REDIS_PASSWORD and LEADSTREAM_REDIS_PASSWORD_FILE are both set; keep one (better the file)",
        ),
        ({"redis_username": "me"}, "LEADSTREAM_REDIS_USERNAME needs LEADSTREAM_REDIS_PASSWORD_FILE beside it"),
        (
            {"redis_ca_file": "ca.pem"},
            "LEADSTREAM_REDIS_CA_FILE is set, but LEADSTREAM_REDIS_URL asks for no TLS; "
            "start it with rediss://, rediss+cluster:// or rediss+sentinel://",
        ),
        (
            {"redis_url": TLS + "?ssl_ca_certs=a.pem", "redis_ca_file": "b.pem"},
            "LEADSTREAM_REDIS_CA_FILE: LEADSTREAM_REDIS_URL has ssl_ca_certs too; take it out of the URL",
        ),
        (
            {"redis_url": TLS, "redis_key_file": "k.pem"},
            "LEADSTREAM_REDIS_KEY_FILE needs LEADSTREAM_REDIS_CERT_FILE beside it",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_the_mend_and_without_the_password(given: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(**given)
    assert str(refused.value) == told
    assert "hunter" not in told


@pytest.mark.parametrize(
    ("url", "login", "bare"),
    [
        ("redis://host:1/0", (None, None), "redis://host:1/0"),
        ("redis://me:p%2Fw@host:1/0?db=2", ("me", "p/w"), "redis://host:1/0?db=2"),
        ("redis://:pw@host", (None, "pw"), "redis://host"),
        ("unix://me@/run/redis.sock", ("me", None), "unix:///run/redis.sock"),
        ("redis+sentinel://me:pw@a:1,b:2/ours/0", ("me", "pw"), "redis+sentinel://a:1,b:2/ours/0"),
    ],
)
def test_a_login_in_the_url_is_taken_out_of_it(url: str, login: tuple[str | None, str | None], bare: str) -> None:
    access = RedisAccess(url)
    assert (access.url_login, access.bare_url) == (login, bare)


def test_the_same_login_twice_is_no_conflict_and_shows_nowhere() -> None:
    settings = load_settings(
        redis_url="redis://me:hunter2@host:1/0", redis_username="me", redis_password="hunter2", redis_password_file=None
    )
    assert settings.redis.username == "me"
    assert "hunter2" not in f"{settings!r} {settings.redis!r} {settings.masked()}".replace(settings.redis_url, "")


def test_every_tls_scheme_takes_the_files() -> None:
    for scheme in ("rediss", "rediss+cluster", "rediss+sentinel"):
        assert load_settings(redis_url=f"{scheme}://host:1/a/0", redis_ca_file=Path("ca.pem")).redis.tls


def test_no_tls_context_is_made_where_no_file_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise AssertionError("2 MiB in every process")

    monkeypatch.setattr("ssl.SSLContext", none)
    for url in ("redis://host:1/0", TLS):
        connect(url, timeout_s=1.0)
