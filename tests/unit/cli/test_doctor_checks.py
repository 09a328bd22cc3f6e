"""Every problem that the doctor finds comes with its mend."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from leadstream_cli import doctor_checks as checks
from leadstream_cli.doctor_checks import Finding, Verdict

GOOD: Mapping[str, object] = {
    "redis_version": "7.0.15",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "used_memory": 10 << 20,
    "maxmemory": 100 << 20,
}


@pytest.mark.parametrize(
    "finding",
    [
        checks.version({"redis_version": "6.2.14"}),
        checks.role({"role": "slave"}),
        checks.eviction({"maxmemory_policy": "allkeys-lru"}),
        checks.persistence({"aof_enabled": 0}, None),
        checks.persistence({"aof_enabled": 1}, "no"),
        checks.persistence({"aof_enabled": 1, "aof_last_write_status": "err"}, "always"),
        checks.persistence({"loading": 1}, None),
        checks.memory({"used_memory": 95, "maxmemory": 100}),
        checks.partitions(4, 1),
        checks.clock(12.0, 0.01),
    ],
)
def test_a_problem_has_a_mend(finding: Finding) -> None:
    assert finding.verdict is Verdict.PROBLEM
    assert finding.mend


@pytest.mark.parametrize(
    "finding",
    [
        checks.version(GOOD),
        checks.version({"server_name": "valkey", "redis_version": "7.2.4", "valkey_version": "9.1.0"}),
        checks.role(GOOD),
        checks.eviction(GOOD),
        checks.persistence(GOOD, "everysec"),
        checks.memory(GOOD),
        checks.partitions(1, 1),
        checks.partitions(1, None),
        checks.clock(-0.2, 0.01),
    ],
)
def test_what_is_right_is_left_alone(finding: Finding) -> None:
    assert finding.verdict is Verdict.OK
    assert not finding.mend


def test_memory_without_a_limit_is_measured_against_the_machine() -> None:
    assert "of the machine's memory" in checks.memory({"used_memory": 1, "total_system_memory": 100}).found
    assert checks.memory({"used_memory": 1}).verdict is Verdict.NOTE


def test_links_of_mails_that_are_not_https_are_noted() -> None:
    assert checks.links("https://leads.example.com").verdict is Verdict.OK
    found = checks.links("http://127.0.0.1:8000")
    assert (found.verdict, "LEADSTREAM_PUBLIC_URL" in found.mend) == (Verdict.NOTE, True)
