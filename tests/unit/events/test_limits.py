"""Rates: what is read, what is refused, and how long a token may wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events.limits import DomainRates, Rate, parse_domain_rates, parse_rate


@given(count=st.integers(1, 9_999_999), unit=st.sampled_from(["s", "min", "h"]))
def test_a_rate_is_read_as_it_is_written(count: int, unit: str) -> None:
    rate = parse_rate(f" {count} / {unit.upper()} ")
    assert rate
    assert (rate.count, str(rate)) == (count, f"{count}/{unit}")
    assert parse_rate(str(rate)) == rate
    assert 50 <= rate.grace_ms <= 1_000


@pytest.mark.parametrize("text", ["off", "OFF", "none", "", None])
def test_no_limit_is_off(text: str | None) -> None:
    assert parse_rate(text) is None


@pytest.mark.parametrize("text", ["0/min", "-1/min", "50", "50/day", "50/min/s", "1e3/s", "٣/s", "10000000/s"])
def test_what_is_no_rate_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(ValueError, match="such as 50/min"):
        parse_rate(text)


def test_domains_are_matched_in_any_case_and_only_whole() -> None:
    rates = parse_domain_rates("Gmail.com=20/min, example.org=5/s")
    assert rates.of("a@GMAIL.COM") == ("gmail.com", Rate(20, 60_000))
    assert rates.of("a@mail.gmail.com") is None
    assert rates.of("a@example.org") == ("example.org", Rate(5, 1_000))
    assert parse_domain_rates(str(rates)) == rates
    assert parse_domain_rates({"example.org": "5/s"}).of("a@example.org")
    assert parse_domain_rates("") == DomainRates()


@pytest.mark.parametrize("text", ["example.org", "=5/s", "example.org=off", "example.org=5"])
def test_a_domain_without_a_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        parse_domain_rates(text)
