"""Whatever boundary a service is killed at: no lead is lost, and no mail goes twice without being marked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.boundaries import APPEND, IN_DOUBT, MAIL, OTHERS, Boundary, run_boundary
from tests.faults.rig import Rig

LEADS, AFTER, KILLS = 40, 15, 2


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One server, inbox and set of services for the boundaries that this process tests."""
    with Rig(tmp_path_factory.mktemp("boundaries")) as made:
        yield made


@pytest.mark.parametrize("at", [*MAIL, *OTHERS, APPEND], ids=lambda at: at.name)
def test_a_kill_at_any_boundary_loses_nothing_and_doubles_nothing_unmarked(rig: Rig, at: Boundary) -> None:
    line = run_boundary(rig, at, leads=LEADS, after=AFTER, kills=KILLS if at in MAIL else 1)
    assert line.times, "the service was never killed"
    assert line.kept, line


@pytest.mark.parametrize("at", IN_DOUBT, ids=lambda at: at.name)
def test_with_hold_a_kill_in_doubt_doubles_nothing_at_all(rig: Rig, at: Boundary) -> None:
    line = run_boundary(rig, at, leads=LEADS, after=AFTER, kills=KILLS, policy="hold")
    assert line.times, "the service was never killed"
    assert line.kept, line
    assert line.duplicated == 0, line
    assert line.marked, "a mail in doubt must be listed for a person"
