"""docs/configuration.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from leadstream_events.settings_reference import reference

ROOT = Path(__file__).resolve().parents[3]


def test_the_configuration_page_is_made_from_the_settings_as_they_are() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == reference(), "run `make configuration`"
