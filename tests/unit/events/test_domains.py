"""Domains that count as one, and what is set for them."""

from __future__ import annotations

import pytest

from leadstream_events.domains import WELL_KNOWN, DomainCounts, parse_counts, parse_groups, rates_of
from leadstream_events.limits import Rate, parse_domain_rates


def test_a_group_is_found_by_the_domain_or_by_what_it_ends_in() -> None:
    groups = parse_groups("Google=gmail.com|*.Google.com, other=example.org")
    assert [groups.of(name) for name in ("gmail.com", "mail.google.com", "google.com", "example.org", "a.example")] == [
        "google", "google", "google.com", "other", "a.example",
    ]  # fmt: skip
    assert groups.of("notgoogle.com") == "notgoogle.com"
    assert parse_groups(str(groups)) == groups
    assert parse_groups("off").of("gmail.com") == "gmail.com"
    assert str(parse_groups("off")) == "off"


def test_the_great_providers_are_known() -> None:
    groups = parse_groups(WELL_KNOWN)
    assert groups.of("gmail.com") == groups.of("googlemail.com") == "google"
    assert groups.of("hotmail.com") == groups.of("outlook.com") == "microsoft"
    assert groups.of("example.com") == "example.com"


@pytest.mark.parametrize("text", ["google", "google=", "=gmail.com", "a.b=gmail.com", "google=gmail", "g=*gmail.com"])
def test_what_is_no_group_is_refused_with_the_form_that_is(text: str) -> None:
    with pytest.raises(ValueError, match="such as google="):
        parse_groups(text)


def test_a_number_of_mails_counts_for_the_domain_the_group_or_every_other() -> None:
    counts = parse_counts("gmail.com=4, google=8,*=10")
    assert counts.of("gmail.com", "google") == {"gmail.com": 4, "google": 8}
    assert counts.of("googlemail.com", "google") == {"google": 8}
    assert counts.of("hotmail.com", "microsoft") == {"microsoft": 10}
    assert counts.of("a.example", "a.example") == {"a.example": 10}
    assert parse_counts("gmail.com=4").of("a.example", "a.example") == {}
    assert parse_counts(str(counts)) == counts
    assert parse_counts("") == DomainCounts()


@pytest.mark.parametrize("text", ["gmail.com", "=4", "gmail.com=0", "gmail.com=4/s", "*=-1", "a=10000"])
def test_what_is_no_number_of_mails_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as gmail\.com=4"):
        parse_counts(text)


def test_a_rate_may_be_that_of_a_domain_of_its_group_or_of_both() -> None:
    groups, rates = parse_groups("google=gmail.com|googlemail.com"), parse_domain_rates("gmail.com=1/s,google=2/s")
    assert rates_of("a@Gmail.com", rates, groups) == {"gmail.com": Rate(1, 1000), "google": Rate(2, 1000)}
    assert rates_of("a@googlemail.com", rates, groups) == {"google": Rate(2, 1000)}
    assert rates_of("a@example.com", rates, groups) == {}


def test_a_rate_for_every_domain_is_no_rate_of_a_domain() -> None:
    with pytest.raises(ValueError, match="such as"):
        parse_domain_rates("*=5/s")
