"""What is shipped is listed whole, and an audit that asked nobody does not pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.audit import FOUND, NOT_ASKED, NOTHING, judge
from tests.unit.deploy.dockerfile import ROOT
from tests.unit.test_requirements import blocks, normal

GOOD = {"name": "idna", "version": "3.20", "vulns": []}
SKIPPED = {"name": "aiosmtpd", "skip_reason": "Dependency not found on PyPI and could not be audited"}
BAD = {"name": "redis", "version": "8.1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["8.1.1"], "description": ""}]}


@pytest.mark.parametrize(
    ("packages", "code", "word"),
    [
        ([GOOD], NOTHING, "1 packages, no known vulnerability"),
        ([GOOD, BAD], FOUND, "redis 8.1.0: PYSEC-1, fixed in 8.1.1"),
        ([GOOD, SKIPPED], NOT_ASKED, "1 of 2 packages could not be checked: aiosmtpd"),
        ([SKIPPED, BAD], FOUND, "PYSEC-1"),
        ([], NOT_ASKED, "no package"),
    ],
)
def test_a_package_that_was_not_checked_is_no_good_news(packages: list[object], code: int, word: str) -> None:
    found, lines = judge(json.dumps({"dependencies": packages, "fixes": []}))
    assert (found, word in "\n".join(lines)) == (code, True), lines


@pytest.mark.parametrize("report", ["", "Traceback", "[]", "null"])
def test_an_audit_without_a_report_says_that_nothing_was_checked(report: str) -> None:
    code, lines = judge(report)
    assert (code, len(lines)) == (NOT_ASKED, 1)
    assert "cannot be reached" in lines[0]


def test_an_audit_in_a_house_without_a_network_ends_with_a_code_of_its_own(tmp_path: Path) -> None:
    """A proxy that is not there stands for the missing network."""
    proxy = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:1")
    command = [sys.executable, str(ROOT / "deploy/audit.py"), str(ROOT / "requirements/archiver.txt")]
    done = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **proxy},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == NOT_ASKED, done.stderr
    assert done.stderr.startswith("audit    ") and done.stderr.count("\n") == 1, done.stderr


def test_the_bill_of_materials_names_every_pinned_package_with_its_version(tmp_path: Path) -> None:
    out = tmp_path / "bounces.cdx.json"
    source = ROOT / "requirements/bounces.txt"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(source), "--pyproject", "pyproject.toml"]
    command += ["--output-reproducible", "--output-format", "JSON", "--output-file", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    bill = json.loads(out.read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "leadstream")
    listed = {normal(each["name"]): each["version"] for each in bill["components"]}
    assert listed == {name: version for name, (version, _) in blocks(source).items()}
    assert all(each["externalReferences"][0]["hashes"] for each in bill["components"])
