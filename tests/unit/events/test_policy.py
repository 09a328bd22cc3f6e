"""The consumer's decisions: pure functions of what it sees and the time it is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events.errors import RedisCause
from leadstream_events.keys import PARKED
from leadstream_events.runtime.policy import (
    Claim,
    ConsumerPolicy,
    backoff_s,
    consumer_name,
    decide_claim,
    is_silent,
    is_stalled,
    needs_new_connections,
)

POLICY = ConsumerPolicy(lease_s=60.0, max_deliveries=10)


@pytest.mark.parametrize(
    ("consumer", "idle_s", "deliveries", "expected"),
    [
        ("other", 59.999, 1, Claim.LEAVE),
        ("other", 60.0, 1, Claim.CLAIM),
        ("other", 60.0, 9, Claim.CLAIM),
        ("other", 60.0, 10, Claim.DEAD_LETTER),
        ("other", 59.999, 99, Claim.LEAVE),
        (PARKED, 1e9, 99, Claim.LEAVE),
    ],
)
def test_an_orphan_is_claimed_after_its_lease_and_poison_given_up(
    consumer: str, idle_s: float, deliveries: int, expected: Claim
) -> None:
    assert decide_claim(consumer, idle_s, deliveries, POLICY) is expected


@pytest.mark.parametrize(
    ("idle_s", "deliveries", "expected"), [(0.9, 1, Claim.LEAVE), (1.0, 1, Claim.CLAIM), (1.0, 10, Claim.DEAD_LETTER)]
)
def test_one_s_own_entry_that_one_never_saw_waits_for_no_lease(idle_s: float, deliveries: int, expected: Claim) -> None:
    assert decide_claim("me", idle_s, deliveries, POLICY, own=True) is expected


@given(lease_s=st.floats(0.1, 3_600))
def test_two_renewals_may_fail_before_a_lease_is_over(lease_s: float) -> None:
    policy = ConsumerPolicy(lease_s=lease_s)
    assert 3 * policy.renew_every_s <= lease_s * 1.000001
    assert policy.claim_every_s <= min(lease_s, 2.0)
    assert policy.forget_consumers_after_s > lease_s


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_a_backoff_never_ends_in_a_hot_loop_and_never_sleeps_too_long(failures: int, jitter: float) -> None:
    assert POLICY.backoff_min_s / 2 <= backoff_s(failures, POLICY, jitter) <= POLICY.backoff_max_s


def test_a_backoff_doubles_until_its_bound() -> None:
    assert [backoff_s(n, POLICY, 0.0) for n in (1, 2, 3, 7, 99)] == [0.05, 0.1, 0.2, 2.5, 2.5]


def test_a_loop_is_silent_only_when_entries_wait_for_too_long() -> None:
    assert is_silent(11.0, 0.0, 1, POLICY)
    assert not is_silent(11.0, 0.0, 0, POLICY)
    assert not is_silent(10.0, 0.0, 1, POLICY)


@pytest.mark.parametrize(
    ("since_s", "progress_s", "stalled"),
    [
        (None, 0.0, False),
        (0.0, 0.0, True),
        (10.0, 0.0, False),
        (0.0, 10.0, False),
        (9.9, 9.9, True),
        (0.0, 200.0, False),
    ],
)
def test_a_consumer_is_stalled_only_when_what_waits_has_waited_and_nothing_ends(
    since_s: float | None, progress_s: float, stalled: bool
) -> None:
    assert is_stalled(70.0, since_s, progress_s, POLICY) is stalled


@pytest.mark.parametrize("cause", list(RedisCause))
def test_a_server_that_is_gone_or_the_wrong_one_needs_new_connections(cause: RedisCause) -> None:
    expected = cause in (RedisCause.READONLY, RedisCause.DOWN, RedisCause.TIMEOUT)
    assert needs_new_connections(cause) is expected


def test_a_name_is_safe_and_ends_in_the_boot_id() -> None:
    assert consumer_name("mailer", "ho st/1:x", "abc") == "mailer-ho-st-1-x-abc"
    assert len(consumer_name("mailer", "h" * 300, "abc")) < 60
