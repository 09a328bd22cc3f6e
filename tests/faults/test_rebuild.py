"""The run of `python -m tests.faults.rebuild`, with few events: exact, never back, killed and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.rebuild import show
from tests.support.redis_server import ServerFactory


@pytest.mark.slow
async def test_a_rebuild_under_load_that_is_killed_and_gone_on_with_is_exact(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    seen = await show(fresh_server().url, 8_000, tmp_path)
    assert seen["drifts"] == 0
    assert seen["went_back"] == 0
    assert seen["reads"] > 10
    assert seen["counted_in_the_end"] > 8_000
    assert seen["quiet"]["events"] == 8_000
