"""A small run of `tests.faults.archive`: the archiver is killed under load, and nothing is lost or doubled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.archive import run


@pytest.mark.slow
async def test_the_archiver_killed_at_random_loses_and_doubles_nothing(tmp_path: Path) -> None:
    result = await run(tmp_path, entries=6_000, kills=3)
    assert (result.lost, result.doubled, result.problems) == (0, 0, [])
    assert result.reads > 0 and result.segments > 0
    assert result.memory_after < result.memory_most
