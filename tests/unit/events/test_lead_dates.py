"""Dates of a lead are read as people write them, never as numbers (case 034)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from leadstream_events.schemas.lead import Lead


def lead(**fields: object) -> Lead:
    return Lead.model_validate_json(
        json.dumps({"full_name": "Dana", "email": "dana@example.com", **fields}), strict=True
    )


def test_a_day_and_a_time_with_an_offset_are_the_same_instant_after_storing() -> None:
    stored = lead(birth_date="1990-01-02", consent={"time": "2026-03-29T02:30:00+02:00"})
    again = Lead.model_validate_json(stored.model_dump_json())
    assert again == stored
    assert again.birth_date == date(1990, 1, 2)
    assert again.consent and again.consent.time == datetime(2026, 3, 29, 0, 30, tzinfo=UTC)


def test_a_time_without_an_offset_is_utc() -> None:
    stored = lead(consent={"time": "2026-03-29T02:30:00"})
    assert stored.consent and stored.consent.time == datetime(2026, 3, 29, 2, 30, tzinfo=UTC)


@pytest.mark.parametrize("value", ["20260329", "1700006400", 631152000, "3/29/2026", "1990-13-01", "1990-02-30", ""])
def test_a_birth_date_that_is_no_day_is_refused_without_repeating_it(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        lead(birth_date=value)
    (error,) = caught.value.errors()
    assert error["loc"] == ("birth_date",)
    assert error["msg"] == "Value error, must be a day written as in 2026-03-28"


@pytest.mark.parametrize("value", [1700006400, "1700006400", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59-12:00"])
def test_a_time_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        lead(consent={"time": value})
