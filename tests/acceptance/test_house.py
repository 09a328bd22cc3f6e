"""The whole house as processes: whoever is killed in the middle of the work, nothing accepted is lost or miscounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.load import run
from tests.support.house import House

LEADS = 200


@pytest.mark.slow
@pytest.mark.parametrize("victim", [None, "api", "fanout", "mailer", "projections", "redis"])
async def test_leads_become_mails_and_counters_although_a_process_is_killed(tmp_path: Path, victim: str | None) -> None:
    # A slow disk is no outage here: after one the API mails too, and what was stored late goes twice (decision 0007).
    with House(tmp_path / "house", LEADSTREAM_APPEND_DEADLINE="5s") as house:
        report = await run(house, LEADS, concurrency=16, kill=victim)
    assert report.accepted == LEADS
    assert (report.lost, report.strangers, report.unmarked, report.differences) == ([], [], [], [])
    if victim != "mailer":
        assert report.doubled == []
