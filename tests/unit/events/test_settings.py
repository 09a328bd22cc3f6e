"""Settings: the environment wins over the file, a wrong value is named with its mend, and no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadstream_events.errors import ConfigurationError
from leadstream_events.limits import Rate
from leadstream_events.setting_values import mask_url, parse_duration
from leadstream_events.settings import load_settings
from leadstream_mail.attempt_rules import rules_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("60s", 60), ("2m", 120), ("2min", 120), ("1h", 3600), ("1.5", 1.5), (7, 7), (" 3 s ", 3)],
)
def test_a_duration_is_read(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1s", "soon", "1w", "367d", "nan", "inf", True, None, float("nan")])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "leadstream.toml"
    path.write_text('rate_limit = "10/s"\nretry_delays = "1s,2s"\nlease = "30s"\n')
    monkeypatch.setenv("LEADSTREAM_CONFIG", str(path))
    monkeypatch.setenv("LEADSTREAM_LEASE", "45s")
    settings = load_settings()
    assert (settings.rate_limit, settings.retry_delays, settings.lease) == (Rate(10, 1_000), (1.0, 2.0), 45.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://somewhere"),
        ("SMTP_URL", "smtp://"),
        ("SMTP_URL", "smtp://host:99999"),
        ("RATE_LIMIT", "many"),
        ("RATE_LIMIT_DOMAINS", "example.org"),
        ("RETRIES", "-1"),
        ("RETRY_DELAYS", "1s,soon"),
        ("LEASE", "0"),
        ("PARTITIONS", "0"),
        ("MAX_DELIVERIES", "1"),
        ("MAIL_FROM", "nobody"),
        ("ON_UNKNOWN", "panic"),
    ],
)
def test_a_wrong_value_names_its_setting(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"LEADSTREAM_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"LEADSTREAM_{name}: ")


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("REDIS_URL", "redis"),
        ("SMTP_URL", "smtp"),
        ("ERROR_WEBHOOK", "http"),
        ("BOUNCES_IMAP_URL", "imaps"),
        ("ARCHIVE_URL", "s3"),
    ],
)
@pytest.mark.parametrize(
    ("place", "says"),
    [("u:hunter2@host:99999/x", "has a port that"), ("u:hunter2@[::1", "has a host that cannot be read")],
)
def test_a_url_whose_host_or_port_cannot_be_read_says_so_and_gives_an_example(
    monkeypatch: pytest.MonkeyPatch, name: str, scheme: str, place: str, says: str
) -> None:
    monkeypatch.setenv(f"LEADSTREAM_{name}", f"{scheme}://{place}")
    with pytest.raises(
        ConfigurationError, match=rf"^LEADSTREAM_{name}: {says}.*; write it like {scheme}s?://"
    ) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_several_hosts_with_ports_are_a_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "redis+sentinel://127.0.0.1:1,127.0.0.2:2/service/0"
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", url)
    assert load_settings().redis_url == url


def test_an_unknown_key_and_a_broken_file_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "leadstream.toml"
    monkeypatch.setenv("LEADSTREAM_CONFIG", str(path))
    path.write_text("rate_limits = 5\n")
    with pytest.raises(ConfigurationError, match="LEADSTREAM_RATE_LIMITS"):
        load_settings()
    path.write_text("rate_limit = \n")
    with pytest.raises(ConfigurationError, match=r"leadstream\.toml cannot be read"):
        load_settings()


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", "redis://user:s3cret@host:1/0")
    monkeypatch.setenv("LEADSTREAM_SMTP_URL", "smtps://user:s3cret@host")
    monkeypatch.setenv("LEADSTREAM_SMTP_PASSWORD", "s3cret")
    settings = load_settings()
    assert "s3cret" not in str(settings.masked())
    assert settings.masked()["redis_url"] == "redis://user:***@host:1/0"
    assert "s3cret" not in repr(settings.smtp_url) + repr(settings.smtp_password)
    assert mask_url("redis://host/0") == "redis://host/0"


def test_delays_repeat_their_last_one() -> None:
    settings = load_settings(retries=5, retry_delays="1s,2s")
    assert settings.max_attempts == 6
    assert [rules_of(settings).delay_s(attempt) for attempt in (1, 2, 3, 9)] == [1.0, 2.0, 2.0, 2.0]


def test_a_password_in_the_query_of_a_url_is_masked_too() -> None:
    assert mask_url("unix:///run/redis.sock?password=secret&db=1") == "unix:///run/redis.sock?password=***&db=1"
