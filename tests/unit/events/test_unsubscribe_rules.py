"""A recipient's wish adds to what others decided, and never takes away from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events.schemas.subscriber import Suppression
from leadstream_events.unsubscribe_rules import REASON, Standing, Wish, can_resume, standing, step

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ADDRESS = "buyer@example.org"


def made(reason: str = REASON, days: float | None = None, replaced: str | None = None) -> Suppression:
    until = None if days is None else NOW + timedelta(days=days)
    return Suppression(address=ADDRESS, reason=reason, created_at=NOW, expires_at=until, replaced=replaced)


suppressions = st.builds(
    made,
    st.sampled_from((REASON, "hard_bounce", "manual")),
    st.none() | st.sampled_from((-1.0, 1.0, 29.0, 400.0)),
    st.none() | st.just("complaint"),
)


def test_stop_is_for_ever_and_a_pause_has_an_end() -> None:
    assert step(None, Wish.STOP, ADDRESS, NOW).after == made()
    assert step(None, Wish.PAUSE, ADDRESS, NOW, 7).after == made(days=7)


@given(st.none() | suppressions, st.sampled_from((Wish.STOP, Wish.PAUSE)), st.sampled_from((7, 30, 90)))
def test_after_a_wish_no_mail_goes_out_and_never_for_a_shorter_time_than_others_decided(
    before: Suppression | None, wish: Wish, days: int
) -> None:
    decided = step(before, wish, ADDRESS, NOW, days)
    after = decided.after if decided.changed else before
    assert after is not None and after.holds(NOW)
    theirs = before is not None and before.holds(NOW) and (before.reason != REASON or before.replaced)
    if theirs and before is not None:
        end = after.expires_at or datetime.max.replace(tzinfo=UTC)
        assert end >= (before.expires_at or datetime.max.replace(tzinfo=UTC))


@given(st.none() | suppressions, st.sampled_from(Wish), st.sampled_from((7, 30, 90)))
def test_a_wish_that_is_posted_twice_is_one(before: Suppression | None, wish: Wish, days: int) -> None:
    first = step(before, wish, ADDRESS, NOW, days)
    after = first.after if first.changed else before
    assert not step(after, wish, ADDRESS, NOW + timedelta(seconds=3), days).changed


@given(suppressions)
def test_undoing_lifts_the_recipients_own_wish_and_nothing_else(before: Suppression) -> None:
    decided = step(before, Wish.RESUME, ADDRESS, NOW)
    own = before.holds(NOW) and before.reason == REASON and before.replaced is None
    assert decided.changed is own and decided.after is None


def test_what_was_there_before_is_remembered_and_keeps_its_hold() -> None:
    after = step(made("hard_bounce"), Wish.STOP, ADDRESS, NOW).after
    assert after == made(replaced="hard_bounce")
    assert not can_resume(after, NOW)
    assert step(after, Wish.RESUME, ADDRESS, NOW).changed is False


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, Standing.ACTIVE),
        (made(days=-1), Standing.ACTIVE),
        (made(), Standing.STOPPED),
        (made(days=1), Standing.PAUSED),
        (made("manual"), Standing.HELD),
    ],
)
def test_how_it_stands(found: Suppression | None, expected: Standing) -> None:
    assert standing(found, NOW) is expected
