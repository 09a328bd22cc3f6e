"""The summary says its figures in plain text, whatever subscribers are called, and is due by the clock alone."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events.daily import day_due
from leadstream_events.errors import Permanent
from leadstream_events.summary import LowQuota, Summary, difference, is_low, read_kept
from leadstream_mail.summary_mail import summary_mail, text_of

NOW = datetime(2026, 11, 26, 7, 0, tzinfo=UTC)


def summary(*low: LowQuota) -> Summary:
    return Summary(
        None, NOW, {"sent": 7, "failed": 3}, {"smtp_550": 2, "retries_used_up": 1}, 4, 5, 6, low, {"mailer": 8}
    )


@given(st.text(max_size=300))
def test_a_mail_is_safe_on_the_wire_whatever_a_subscriber_is_called(name: str) -> None:
    shown = summary(LowQuota("s1", name.encode("utf-8", "replace").decode(), 1, 20))
    mail = summary_mail(shown, date(2026, 11, 26), mail_from="a@example.com", to="b@example.com", now=NOW)
    assert b"\n" not in mail.data.replace(b"\r\n", b"") and b"\r" not in mail.data.replace(b"\r\n", b"")
    assert max(map(len, mail.data.split(b"\r\n"))) <= 998
    read = email.message_from_bytes(mail.data, policy=email.policy.default)
    assert read["To"] == "b@example.com" and read["Auto-Submitted"] == "auto-generated"
    assert len(read.get_body().get_content().splitlines()) == len(text_of(shown).splitlines())  # type: ignore[union-attr]
    assert read["Subject"] == "leadstream 2026-11-26: 7 sent, 3 failed, 5 dead letters open"


def test_every_figure_is_told() -> None:
    text = text_of(summary(LowQuota("s1", "Sam", 2, 20)))
    for words in ("7", "smtp_550", "retries_used_up", "Sam (s1): 2 of 20 left", "mailer", "the beginning"):
        assert words in text


def test_an_address_without_safe_spelling_is_refused() -> None:
    with pytest.raises(Permanent):
        summary_mail(summary(), date(2026, 1, 1), mail_from="a@example.com", to="b\r\n@example.com", now=NOW)


@pytest.mark.parametrize(
    ("now", "due"),
    [("2026-11-26T07:00", "2026-11-26"), ("2026-11-26T06:59", "2026-11-25"), ("2026-11-26T23:59", "2026-11-26")],
)
def test_the_day_is_that_of_the_latest_moment_that_has_come(now: str, due: str) -> None:
    assert day_due(datetime.fromisoformat(now), "07:00") == date.fromisoformat(due)


def test_few_leads_are_few_by_number_or_by_share() -> None:
    assert [is_low(5, 1000), is_low(100, 1000), is_low(101, 1000), is_low(6, 50)] == [True, True, False, False]


def test_counts_never_go_below_nothing_and_what_was_kept_may_be_broken() -> None:
    assert difference({"a": 5, "b": 1}, {"a": 7}) == {"a": 0, "b": 1}
    assert read_kept({}) == (None, {})
    assert read_kept({"until": "soon", "totals": "{"}) == (None, {})
    assert read_kept({"until": NOW.isoformat(), "totals": '{"a":1}'}) == (NOW, {"a": 1})
