"""compose.yaml and the workflow are what their specifications allow: checked against the published JSON schemas."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.deploy.dockerfile import ROOT
from tests.unit.deploy.test_compose import COMPOSE, SERVICES

PROFILES = sorted({profile for service in SERVICES.values() for profile in service["profiles"]})
BASES = ("dev", "prod")


def views() -> Iterator[tuple[str, ...]]:
    """What people start: one of the bases, alone and with each set of the others."""
    others = [profile for profile in PROFILES if profile not in BASES]
    for base, count in itertools.product(BASES, range(len(others) + 1)):
        yield from ((base, *more) for more in itertools.combinations(others, count))


def view(profiles: tuple[str, ...]) -> dict[str, Any]:
    """The file as Compose sees it under these profiles, with anchors merged and extensions left out."""
    services = {name: each for name, each in SERVICES.items() if set(each["profiles"]) & set(profiles)}
    return {name: each for name, each in COMPOSE.items() if not name.startswith("x-")} | {"services": services}


def check(schema: str, *files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_every_merged_view_is_a_compose_file(tmp_path: Path) -> None:
    files = []
    for profiles in views():
        files.append(tmp_path / f"{'-'.join(profiles)}.json")
        files[-1].write_text(json.dumps(view(profiles)))
    assert len(files) >= 8
    done = check("vendor.compose-spec", ROOT / "compose.yaml", *files)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("fault", [{"read-only": True}, {"restart": ["always"]}, {"healthcheck": {"intervall": "5s"}}])
def test_a_slip_in_a_service_is_found(tmp_path: Path, fault: dict[str, Any]) -> None:
    broken = view(("prod",))
    broken["services"] = broken["services"] | {"api": broken["services"]["api"] | fault}
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(broken))
    assert check("vendor.compose-spec", file).returncode == 1


@pytest.mark.parametrize("profiles", list(views()), ids="+".join)
def test_whatever_a_service_waits_for_is_started_with_it(profiles: tuple[str, ...]) -> None:
    services = view(profiles)["services"]
    missing = {
        f"{name} waits for {other}"
        for name, each in services.items()
        for other in each.get("depends_on", ())
        if other not in services
    }
    assert not missing


def test_the_workflow_is_one() -> None:
    done = check("vendor.github-workflows", ROOT / ".github/workflows/ci.yml")
    assert done.returncode == 0, done.stdout + done.stderr
