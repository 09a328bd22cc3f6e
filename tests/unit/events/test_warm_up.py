"""The warm-up: which limit holds on which day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from leadstream_events.limits import DAY_MS
from leadstream_events.warm_up import DOUBLING, limit_on, next_change, parse_warm_up

START = date(2026, 12, 1)
COUNTS = (50, 100, 200)


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 12, 1, hour, tzinfo=UTC) + timedelta(days=day)


@pytest.mark.parametrize(("day", "count"), [(-30, 50), (0, 50), (1, 100), (2, 200), (3, None), (400, None)])
def test_each_day_has_its_limit_and_after_the_last_there_is_none(day: int, count: int | None) -> None:
    found = limit_on(START, COUNTS, at(day))
    assert (found and found.count) == count
    assert found is None or (found.period_ms, str(found)) == (DAY_MS, f"{count}/day")


def test_days_are_those_of_utc_wherever_the_clock_is() -> None:
    tokyo = datetime(2026, 12, 2, 8, tzinfo=timezone(timedelta(hours=9)))  # still the first day in UTC
    found = limit_on(START, COUNTS, tokyo)
    assert found is not None and found.count == 50


def test_without_a_start_there_is_no_warm_up() -> None:
    assert limit_on(None, COUNTS, at(0)) is None


def test_the_next_change_is_the_next_midnight_and_in_the_end_there_is_none() -> None:
    assert next_change(START, COUNTS, at(0)) == datetime(2026, 12, 2, tzinfo=UTC)
    assert next_change(START, COUNTS, at(2, 23)) == datetime(2026, 12, 4, tzinfo=UTC)
    assert next_change(START, COUNTS, at(-5)) == datetime(2026, 12, 2, tzinfo=UTC)
    assert next_change(START, COUNTS, at(3)) is None


def test_a_table_is_read_as_it_is_written() -> None:
    assert parse_warm_up(" 50/day, 100 / day,200") == (50, 100, 200)
    assert parse_warm_up(",".join(map(str, DOUBLING))) == DOUBLING


@pytest.mark.parametrize("text", ["", "0/day", "50/h", "50/day;100/day", "100001", "x"])
def test_what_is_no_table_is_refused_with_the_form_that_is(text: str) -> None:
    with pytest.raises(ValueError, match="such as 50/day"):
        parse_warm_up(text)
