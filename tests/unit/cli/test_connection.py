"""The quick way to find Redis agrees with the whole configuration."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from leadstream_cli import archiving, connection
from leadstream_cli.runfile import RunFile, read_run_file, write_run_file
from leadstream_events.errors import ConfigurationError
from leadstream_events.redis_access import RedisAccess
from leadstream_events.settings import RETAIN_WITH_ARCHIVE_S, Settings, load_settings

RUN = RunFile(os.getpid(), "redis://127.0.0.1:1/0", "http://127.0.0.1:2", "smtp://127.0.0.1:3", "http://127.0.0.1:4")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_those_of_the_settings() -> None:
    settings = Settings()
    assert connection.find_redis_url() == connection.Found(settings.redis_url, "default")
    assert connection.find_public_url().value == settings.public_url
    assert connection.find_smtp_url().value == settings.smtp_url.get_secret_value()


def test_the_environment_wins_over_the_file_as_in_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "leadstream.toml"
    path.write_text('redis_url = "redis://file:1/0"\n')
    monkeypatch.setenv("LEADSTREAM_CONFIG", str(path))
    assert connection.find_redis_url() == connection.Found(load_settings().redis_url, str(path))
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", "redis://environment:1/0")
    assert connection.find_redis_url() == connection.Found(load_settings().redis_url, "environment")


def test_a_file_that_is_not_toml_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "leadstream.toml"
    path.write_text("redis_url = ")
    monkeypatch.setenv("LEADSTREAM_CONFIG", str(path))
    with pytest.raises(ConfigurationError, match=r"leadstream\.toml cannot be read"):
        connection.find_redis_url()


def test_a_running_up_is_found_through_its_data_directory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_run_file(tmp_path / "data", RUN)
    assert connection.find_redis_url().value == RUN.redis_url
    assert connection.find_public_url().value == RUN.api_url


def test_of_a_running_up_it_is_known_how_long_redis_keeps_what_its_archiver_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert archiving.retained_s(load_settings()) is None
    (tmp_path / "data").mkdir()
    write_run_file(tmp_path / "data", RUN)
    assert archiving.retained_s(load_settings()) == RETAIN_WITH_ARCHIVE_S
    monkeypatch.setenv("LEADSTREAM_RETAIN", "off")
    assert archiving.retained_s(load_settings()) is None
    monkeypatch.setenv("LEADSTREAM_RETAIN", "1h")
    assert archiving.retained_s(load_settings()) == 3600.0


@pytest.mark.parametrize("url", ["redis://[::1", "redis://127.0.0.1:99999"])
async def test_a_redis_whose_address_cannot_be_read_is_named_with_an_example(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", url)
    with pytest.raises(ConfigurationError, match=r"^LEADSTREAM_REDIS_URL: has a .*; write it like redis://"):
        async with connection.redis_client():
            raise AssertionError


def test_a_run_file_of_a_process_that_is_gone_is_ignored(tmp_path: Path) -> None:
    path = write_run_file(tmp_path, RUN)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": 2**22 + 1}))
    assert read_run_file(tmp_path) is None


def test_an_url_in_an_error_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", "redis://me:hunter2@host:1/0")
    assert connection.shown_redis_url() == "redis://me:***@host:1/0"


def test_the_login_is_for_the_server_in_the_settings_and_not_for_that_of_a_running_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADSTREAM_REDIS_USERNAME", "me")
    monkeypatch.setenv("LEADSTREAM_REDIS_PASSWORD", "hunter2")
    assert connection.find_redis() == load_settings().redis
    (tmp_path / "data").mkdir()
    write_run_file(tmp_path / "data", RUN)
    assert connection.find_redis() == RedisAccess(RUN.redis_url)
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", "rediss://host:1/0")
    monkeypatch.setenv("LEADSTREAM_REDIS_CA_FILE", "ca.pem")
    assert connection.find_redis() == load_settings().redis


def test_a_password_in_the_query_is_masked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", "redis+sentinel://host:1/ours?password=hunter2")
    assert connection.shown_redis_url() == "redis+sentinel://host:1/ours?password=***"
