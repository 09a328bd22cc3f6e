"""When mails that wait for a domain come back: spread at its pace, never all at once, never for ever."""

from __future__ import annotations

from itertools import pairwise

from leadstream_mailer.bounds import Bound
from leadstream_mailer.queueing import LONGEST_S, Turns

A_SECOND = Bound("window", 1, 1_000, 50)
PLACES = Bound("places", 2, 60_000, 6_000, comes_back=True)


def test_mails_come_back_one_after_the_other_a_little_faster_than_the_limit() -> None:
    turns = Turns()
    waits = [turns.next_s(A_SECOND, 0.9, 100.0) for _ in range(50)]
    assert waits[0] == 0.9 + 0.0 or waits[0] >= 0.9
    assert all(0.79 < later - earlier < 0.81 for earlier, later in pairwise(waits))


def test_nobody_waits_longer_than_ten_minutes_to_ask_again() -> None:
    turns = Turns()
    waits = [turns.next_s(A_SECOND, 0.5, 0.0) for _ in range(5_000)]
    assert max(waits) == LONGEST_S
    assert turns.next_s(A_SECOND, 0.5, LONGEST_S + 10) < 2


def test_a_place_is_asked_for_again_after_about_a_send_and_not_after_a_lease() -> None:
    turns = Turns()
    for _ in range(50):
        turns.took("places", 1.0)
    waits = [turns.next_s(PLACES, 59.0, 0.0) for _ in range(10)]
    assert 0.9 < waits[0] <= 1.1
    assert all(0.3 < later - earlier < 0.5 for earlier, later in pairwise(waits))


def test_limits_have_turns_of_their_own() -> None:
    turns = Turns()
    for _ in range(100):
        turns.next_s(A_SECOND, 0.5, 0.0)
    assert turns.next_s(Bound("other", 1, 1_000, 50), 0.5, 0.0) < 1
