"""Counts the generated examples of a run and says so at its end: `-p tests.fuzz.counting`.

A test tells its number by `record_property("examples", n)`; properties come back from the processes of xdist too.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints one line per test and the sum."""
    counts: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "examples" and report.when == "call":
                    counts[report.nodeid.rpartition("::")[2]] += value
    terminalreporter.section("examples")
    for name, count in counts.most_common():
        terminalreporter.write_line(f"{count:7,}  {name}")
    terminalreporter.write_line(f"{counts.total():7,}  in all")
