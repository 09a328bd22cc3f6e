"""The workflow calls what is there, on the Pythons that are promised, and is given no more rights than it needs."""

from __future__ import annotations

import os
import re
import tomllib
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.unit.deploy.dockerfile import ROOT

FILE = ROOT / ".github/workflows/ci.yml"


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(FILE.read_text())
    return found


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_every_command_is_a_target_or_a_script_that_is_there(workflow: dict[Any, Any]) -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert {"make containers", "make sbom", "make audit", ".ci/run"} == set(commands)
    for command in commands:
        if command.startswith("make "):
            assert command.split()[1] in targets, command
        else:
            assert os.access(ROOT / command, os.X_OK), command


def test_it_runs_on_every_python_that_is_promised(workflow: dict[Any, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = [line.rpartition(" ")[2] for line in project["classifiers"] if line.startswith("Programming Language")]
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == promised


def test_it_may_read_only_and_every_job_ends(workflow: dict[Any, Any]) -> None:
    triggers = workflow[True]  # YAML 1.1 reads the key `on` as true
    assert "pull_request_target" not in triggers
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 60
    for step in steps(workflow):
        assert "${{" not in step.get("run", ""), "what others write must not become a command"
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_what_the_bill_of_materials_writes_is_what_is_uploaded(workflow: dict[Any, Any]) -> None:
    (upload,) = (step for step in steps(workflow) if step.get("uses", "").startswith("actions/upload-artifact@"))
    assert f"mkdir -p {upload['with']['path']}\n" in (ROOT / "Makefile").read_text()


def test_the_makefile_lists_every_part_that_has_an_image() -> None:
    extras = re.search(r"^EXTRAS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert extras
    images = {path.parent.name for path in [*ROOT.glob("services/*/Dockerfile"), ROOT / "cli/Dockerfile"]}
    assert images <= set(extras[1].split())
