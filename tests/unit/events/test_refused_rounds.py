"""What rounds of background work do with the errors of Redis."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError
from structlog.testing import capture_logs

from leadstream_events.refused_rounds import tolerate


def test_a_missing_right_is_told_once_for_each_work_with_its_mend() -> None:
    with capture_logs() as lines:
        for work in ("counting sheep", "counting sheep", "counting goats"):
            tolerate(NoPermissionError("NOPERM this user has no permissions"), work)
    assert [(line["work"], line["cause"]) for line in lines] == [
        ("counting sheep", "noperm"),
        ("counting goats", "noperm"),
    ]
    assert all("leadstream acl" in line["mend"] for line in lines)


def test_an_outage_is_left_to_the_consumers_to_tell() -> None:
    with capture_logs() as lines:
        tolerate(RedisConnectionError("refused"), "counting cows")
    assert lines == []


def test_a_bug_passes_through() -> None:
    with pytest.raises(KeyError):
        tolerate(KeyError("name"), "counting cats")
