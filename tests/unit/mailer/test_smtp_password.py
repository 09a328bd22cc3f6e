"""The password of the SMTP server: from its setting, else from its file, else from the URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadstream_events.errors import ConfigurationError
from leadstream_events.settings import load_settings
from leadstream_mail.smtp.from_settings import make_pool, smtp_password


def test_the_setting_wins_over_its_file_and_the_file_over_the_url(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from the file\n")
    assert smtp_password(load_settings(smtp_password="from the setting", smtp_password_file=file)) == "from the setting"
    assert smtp_password(load_settings(smtp_password_file=file)) == "from the file"
    assert smtp_password(load_settings(smtp_url="smtp://user:inside@127.0.0.1:1")) is None


def test_a_file_that_cannot_be_read_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    file = tmp_path / "password"
    named = "LEADSTREAM_SMTP_PASSWORD_FILE: .*password cannot be read: "
    with pytest.raises(ConfigurationError, match=named + "No such file"):
        make_pool(load_settings(smtp_password_file=file))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=named + "it is not UTF-8"):
        make_pool(load_settings(smtp_password_file=file))
