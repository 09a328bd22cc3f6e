"""docs/deploy.md names files, settings, services and volumes that exist."""

from __future__ import annotations

import re
from typing import Any

import yaml  # type: ignore[import-untyped]

from leadstream_events.settings import PREFIX, Settings
from tests.unit.deploy.dockerfile import ROOT

GUIDE = (ROOT / "docs/deploy.md").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_every_setting_exists() -> None:
    named = set(re.findall(r"LEADSTREAM_[A-Z_]+", GUIDE))
    assert named and {name.removeprefix(PREFIX).lower() for name in named} <= Settings.model_fields.keys()


def test_every_file_and_every_link_exists() -> None:
    files = re.findall(r"(?:deploy|requirements)/[\w./-]+\w", GUIDE)
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", GUIDE) if "://" not in link]
    assert files and links
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_volume_and_every_command_of_compose_exists() -> None:
    assert set(re.findall(r"volume `([\w-]+)`", GUIDE)) == COMPOSE["volumes"].keys()
    assert set(re.findall(r"docker compose run --rm (\w+)", GUIDE)) == {"cli"}
    stopped = re.findall(r"docker compose stop ([\w ]+)", GUIDE)[0].split()
    assert set(stopped) <= COMPOSE["services"].keys()


def test_every_unit_exists() -> None:
    units = {path.name.removesuffix(".service").rstrip("@") for path in (ROOT / "deploy/systemd").glob("*-*.service")}
    assert "deploy/systemd/leadstream.service" in GUIDE
    assert set(re.findall(r"(?<![/\w])leadstream-(?:api|fanout|mailer|projections|archiver|bounces)", GUIDE)) == units
