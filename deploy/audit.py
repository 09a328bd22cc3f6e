"""Asks PyPI's advisories about every pinned requirement, by pip-audit: `make audit`.

Exit codes: 0 nothing is known against any of them, 1 something is, 4 it could not be asked about all of them. pip-audit
itself calls it "no known vulnerabilities" when the index knows none of the packages, as an index of one's own does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOTHING, FOUND, NOT_ASKED = 0, 1, 4


def judge(report: str) -> tuple[int, list[str]]:
    """Returns the exit code and the lines for pip-audit's JSON report; "" or a broken one: it could not ask."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, LookupError, TypeError):
        return NOT_ASKED, ["the advisory service cannot be reached from here: nothing was checked"]
    bad = [
        f"{each['name']} {each['version']}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'no version'}"
        for each in packages
        for fault in each.get("vulns", ())
    ]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    lines = list(bad)
    if skipped:
        lines.append(f"{len(skipped)} of {len(packages)} packages could not be checked: {', '.join(skipped[:5])}, ...")
    if bad:
        return FOUND, lines
    if skipped or not packages:
        return NOT_ASKED, lines or ["no package was checked"]
    return NOTHING, [f"{len(packages)} packages, no known vulnerability"]


def main(files: Sequence[str]) -> int:
    """Audits these files, by default every one of requirements/."""
    wanted = list(files) or sorted(map(str, (ROOT / "requirements").glob("*.txt")))
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
    command += ["--format", "json", *(part for file in wanted for part in ("--requirement", file))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  -- our own words
    code, lines = judge(done.stdout)
    out = sys.stderr if code else sys.stdout
    out.write("".join(f"audit    {line}\n" for line in lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
