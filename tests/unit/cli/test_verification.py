"""The demo's verdict: silent when everything fits, and loud about any single thing that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from leadstream_cli.verification import NOTIFICATION, WELCOME, Arrival, Counters, Due, Expected, check

LEADS = frozenset({"l1", "l2", "l3"})
EXPECTED = Expected(
    leads=LEADS,
    subscribers=(
        Due("all@example.com", LEADS, 3),
        Due("quota@example.com", LEADS, 2),
        Due("closed@example.com", frozenset(), 0),
    ),
    welcome=LEADS,
)
INBOX = (
    *(Arrival(NOTIFICATION, lead, "all@example.com", f"<a-{lead}>") for lead in sorted(LEADS)),
    *(Arrival(NOTIFICATION, lead, "quota@example.com", f"<q-{lead}>") for lead in ("l1", "l3")),
    *(Arrival(WELCOME, lead, f"{lead}@example.org", f"<w-{lead}>") for lead in sorted(LEADS)),
)
SENT = {"all@example.com": 3, "quota@example.com": 2}
COUNTERS = Counters(
    {"leads": 3, "requested": 8, "sent": 8, "sent:notification": 5, "sent:welcome": 3, "attempts": 8}, SENT, SENT
)


def test_what_was_due_and_counted_right_passes() -> None:
    assert check(EXPECTED, INBOX, COUNTERS) == []


@pytest.mark.parametrize("gone", range(len(INBOX)))
def test_any_single_missing_mail_is_found(gone: int) -> None:
    left = [mail for number, mail in enumerate(INBOX) if number != gone]
    assert check(EXPECTED, left, COUNTERS)


@pytest.mark.parametrize("twice", range(len(INBOX)))
def test_any_single_doubled_mail_is_found(twice: int) -> None:
    problems = check(EXPECTED, [*INBOX, INBOX[twice]], COUNTERS)
    assert any("arrived 2 times" in problem for problem in problems)


def test_a_mail_doubled_under_another_message_id_is_found() -> None:
    again = replace(INBOX[0], message_id="<other@example.com>")
    assert any("different Message-IDs" in problem for problem in check(EXPECTED, [*INBOX, again], COUNTERS))


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("name", ["leads", "requested", "sent", "sent:notification", "sent:welcome"])
def test_a_total_that_is_off_by_one_is_found_and_named(name: str, by: int) -> None:
    wrong = replace(COUNTERS, totals={**COUNTERS.totals, name: COUNTERS.totals[name] + by})
    assert any(f"counter {name} is" in problem for problem in check(EXPECTED, INBOX, wrong))


@pytest.mark.parametrize("name", ["failed", "skipped", "unknown"])
def test_a_mail_that_failed_or_was_skipped_is_found(name: str) -> None:
    wrong = replace(COUNTERS, totals={**COUNTERS.totals, name: 1})
    assert check(EXPECTED, INBOX, wrong) == [f"counter {name} is 1, 0 expected"]


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("who", ["all@example.com", "quota@example.com", "closed@example.com"])
@pytest.mark.parametrize("counter", ["sent", "leads_sent"])
def test_a_subscribers_counter_that_is_off_by_one_is_found_and_named(counter: str, who: str, by: int) -> None:
    wrong: Callable[..., Counters] = replace
    changed = wrong(COUNTERS, **{counter: {**SENT, who: SENT.get(who, 0) + by}})
    assert any(problem.startswith(f"{who}: {counter} is") for problem in check(EXPECTED, INBOX, changed))


def test_a_quota_may_be_filled_by_any_of_the_leads() -> None:
    other = [replace(mail, lead_id="l2") if mail.message_id == "<q-l3>" else mail for mail in INBOX]
    assert check(EXPECTED, other, COUNTERS) == []


def test_one_lead_beyond_the_quota_is_found() -> None:
    extra = Arrival(NOTIFICATION, "l2", "quota@example.com", "<q-l2>")
    assert any("2 leads are due, 3 arrived" in problem for problem in check(EXPECTED, [*INBOX, extra], COUNTERS))


def test_a_mail_to_somebody_who_is_owed_nothing_is_found() -> None:
    for who in ("closed@example.com", "stranger@example.com"):
        extra = Arrival(NOTIFICATION, "l1", who, "<x>")
        assert any(problem.startswith(who) for problem in check(EXPECTED, [*INBOX, extra], COUNTERS))


def test_a_lead_exchanged_for_another_is_found() -> None:
    swapped = [replace(mail, lead_id="l9") if mail.message_id == "<a-l1>" else mail for mail in INBOX]
    problems = check(EXPECTED, swapped, COUNTERS)
    assert any("lead l9 arrived but is not due" in problem for problem in problems)
