"""The limit that one process keeps by itself while Redis is away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leadstream_api.access.rates import LocalWindow
from leadstream_events.limits import Rate


def test_the_next_one_fits_when_the_oldest_leaves_the_window() -> None:
    window = LocalWindow(Rate(2, 60_000))
    for at_s in (100.0, 110.0):
        assert window.wait_s(at_s) == 0
        window.add(at_s)
    assert window.wait_s(110.0) == 50.0
    assert window.wait_s(160.0) == 0
    window.add(160.0)
    assert window.wait_s(160.0) == 10.0


@given(st.lists(st.floats(0, 50), min_size=1, max_size=200), st.integers(1, 5))
def test_in_no_window_are_more_let_through_than_the_limit_says(steps: list[float], count: int) -> None:
    window, now_s, taken = LocalWindow(Rate(count, 60_000)), 1000.0, []
    for step in steps:
        now_s += step
        if window.wait_s(now_s) == 0:
            window.add(now_s)
            taken.append(now_s)
    # A millisecond of grace for the sums of floats.
    assert all(later - earlier >= 59.999 for earlier, later in zip(taken, taken[count:], strict=False))
