"""What answers of siteverify mean, and which settings are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadstream_api.access.turnstile import Verdict, open_turnstile, verdict_of
from leadstream_events.errors import ConfigurationError
from leadstream_events.settings import Settings


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"success": true, "hostname": "www.example.com", "more": [1]}', Verdict.PASSED),
        (500, b'{"success": true}', Verdict.UNANSWERED),
        (200, b'{"success": false, "error-codes": ["timeout-or-duplicate"]}', Verdict.SPENT),
        (200, b'{"success": false, "error-codes": ["invalid-input-response"]}', Verdict.REFUSED),
        (400, b'{"success": false, "error-codes": ["missing-input-response"]}', Verdict.REFUSED),
        (200, b'{"success": false, "error-codes": ["invalid-input-secret"]}', Verdict.WRONG_SECRET),
        (200, b'{"success": false, "error-codes": ["internal-error"]}', Verdict.UNANSWERED),
        (200, b'{"success": false}', Verdict.UNANSWERED),
        (200, b'{"success": "true"}', Verdict.UNANSWERED),
        (200, b"[]", Verdict.UNANSWERED),
        (200, b'{"success": \xff}', Verdict.UNANSWERED),
        (0, b"", Verdict.UNANSWERED),
    ],
)
def test_only_what_names_the_token_is_a_refusal(status: int, body: bytes, expected: Verdict) -> None:
    assert verdict_of(status, body) is expected


def test_without_a_secret_nothing_is_checked_and_the_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    assert open_turnstile(Settings()) is None
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    found = open_turnstile(Settings(turnstile_secret_file=path))
    assert found is not None
    assert found.secret == "s3cret"
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"turnstile_secret": " "}, "TURNSTILE_SECRET: is empty"),
        ({"turnstile_secret_file": "absent"}, "TURNSTILE_SECRET_FILE: absent cannot be read"),
        (
            {"turnstile_secret": "x", "turnstile_url": "http://www.example.com/siteverify"},
            "TURNSTILE_URL: must be https",
        ),
        ({"turnstile_secret": "x", "turnstile_url": "https:///siteverify"}, "TURNSTILE_URL: must be https"),
        ({"turnstile_secret": "x", "turnstile_url": "https://a.example:99999/"}, "TURNSTILE_URL: must be https"),
        ({"turnstile_secret": "x", "turnstile_url": "https://[::1"}, "TURNSTILE_URL: must be https"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(values: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        open_turnstile(Settings(**values))  # type: ignore[arg-type]
