"""What each event counts, in every projection; the functions know nothing but the event and where it is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_events import keys
from leadstream_events.effects import Effect
from leadstream_events.envelope import Event, encode
from leadstream_events.runtime.delivery import Delivery, make_delivery
from leadstream_events.schemas import events as e
from leadstream_events.schemas.lead import Lead
from leadstream_projections.counters import (
    MINUTES_KEPT_S,
    PER_LEAD,
    PROJECTIONS,
    SERIES,
    SUBSCRIBERS,
    TOTALS,
    Increment,
    Place,
    Projection,
)
from leadstream_projections.store import settlements

AT = datetime(2026, 3, 9, 8, 5, 59, 120_000, tzinfo=UTC)
PLACE = Place("outcomes", "17-3")
FAILURE = e.SmtpFailure(permanent=True, phase="rcpt", code=550)
MAIL: dict[str, Any] = {"email_id": "mail-1", "kind": e.Kind.NOTIFICATION, "subscriber_id": "sub-1"}
WELCOME: dict[str, Any] = {"email_id": "mail-2", "kind": e.Kind.WELCOME}

RECEIVED = e.LeadReceived(lead=Lead(full_name="Dana Example", email="dana@example.com"))
SENT = e.EmailSent(**MAIL, attempt=1, code=250, reply="ok", message_id="<m@example.com>")
OF_A_MAIL: list[tuple[e.EventData, str, set[str]]] = [
    (e.EmailRequested(**MAIL, to="s@example.com", lead_entry="1-1"), "requested", set()),
    (SENT, "sent", {"attempts"}),
    (e.EmailDeferred(**MAIL, attempt=1, failure=FAILURE, next_attempt_at=AT), "deferred", {"attempts"}),
    (e.EmailFailed(**MAIL, attempt=1, cause="refused", failure=FAILURE), "failed", {"failed:refused", "attempts"}),
    (e.EmailFailed(**MAIL, attempt=4, cause="used_up"), "failed", {"failed:used_up"}),
    (e.EmailSkipped(**MAIL, reason="suppressed"), "skipped", {"skipped:suppressed"}),
    (e.EmailOutcomeUnknown(**MAIL, attempt=1, policy="hold"), "unknown", {"attempts"}),
    (e.EmailBounced(**MAIL, bounce_class="mailbox"), "bounced", set()),
    (e.EmailComplained(**MAIL, feedback_type="abuse"), "complained", set()),
]
NAMES = [f"{type(data).__name__}-{metric}-{number}" for number, (data, metric, _) in enumerate(OF_A_MAIL)]
OTHERS = [e.SubscriberRemoved(subscriber_id="sub-1"), e.RecipientReleased(address="x@example.com")]

of_a_mail = pytest.mark.parametrize(("data", "metric", "more"), OF_A_MAIL, ids=NAMES)


def event(data: e.EventData, at: datetime = AT) -> Event:
    return Event("event-1", type(data).__name__, at, "lead-1", data)


def changes(projection: Projection, data: e.EventData, at: datetime = AT) -> dict[tuple[str, str], int | str]:
    """What one event does, by part and field; fails when it touches a field twice."""
    increments = projection.increments(event(data, at), PLACE)
    out: dict[tuple[str, str], int | str] = {(each.part, each.field): each.value or each.by for each in increments}
    assert len(out) == len(increments)
    return out


def test_a_lead_counts_once_in_the_totals() -> None:
    assert changes(TOTALS, RECEIVED) == {("", "leads"): 1}


@of_a_mail
def test_an_event_of_a_mail_counts_its_metric_and_its_kind_in_the_totals(
    data: e.EventData, metric: str, more: set[str]
) -> None:
    wanted = {metric, f"{metric}:notification", *more}
    assert changes(TOTALS, data) == {("", field): 1 for field in wanted}


@of_a_mail
def test_an_event_of_a_mail_counts_for_its_subscriber(data: e.EventData, metric: str, more: set[str]) -> None:
    wanted: dict[tuple[str, str], int | str] = {("", f"sub-1:{metric}"): 1}
    if metric == "sent":
        wanted["", "sub-1:last_sent"] = "2026-03-09T08:05:59.120Z"
    assert changes(SUBSCRIBERS, data) == wanted


@of_a_mail
def test_an_event_of_a_mail_counts_for_its_lead_and_stands_in_its_timeline(
    data: e.EventData, metric: str, more: set[str]
) -> None:
    assert changes(PER_LEAD, data) == {("lead-1", metric): 1, ("lead-1", "@event-1"): "outcomes 17-3"}


@pytest.mark.parametrize("data", [RECEIVED, e.LeadErased(by="admin")])
def test_the_events_of_the_lead_itself_stand_in_its_timeline_and_count_no_mail(data: e.EventData) -> None:
    assert changes(PER_LEAD, data) == {("lead-1", "@event-1"): "outcomes 17-3"}


def test_the_welcome_mail_counts_for_no_subscriber() -> None:
    data = e.EmailSent(**WELCOME, attempt=1, code=250, reply="ok", message_id="<m@example.com>")
    assert changes(SUBSCRIBERS, data) == {}
    assert ("", "sent:welcome") in changes(TOTALS, data)


def test_a_sent_mail_counts_by_minute_hour_and_day_with_its_kind() -> None:
    assert changes(SERIES, SENT) == {
        ("minute:20260309", "08:05 sent"): 1,
        ("minute:20260309", "08:05 sent:notification"): 1,
        ("hour:202603", "09T08 sent"): 1,
        ("hour:202603", "09T08 sent:notification"): 1,
        ("day:2026", "03-09 sent"): 1,
        ("day:2026", "03-09 sent:notification"): 1,
    }


@pytest.mark.parametrize(
    ("data", "metric"), [(RECEIVED, "leads"), *((data, m) for data, m, _ in OF_A_MAIL if m in ("requested", "failed"))]
)
def test_other_events_count_one_metric_in_each_bucket(data: e.EventData, metric: str) -> None:
    wanted = {
        ("minute:20260309", f"08:05 {metric}"),
        ("hour:202603", f"09T08 {metric}"),
        ("day:2026", f"03-09 {metric}"),
    }
    assert changes(SERIES, data) == dict.fromkeys(wanted, 1)


def test_what_comes_after_the_sending_is_not_in_the_series() -> None:
    assert not any(changes(SERIES, data) for data, metric, _ in OF_A_MAIL if metric in ("bounced", "complained"))


def test_buckets_are_in_utc_whatever_offset_the_event_has() -> None:
    elsewhere = datetime(2027, 1, 1, 3, 30, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert {part for part, _ in changes(SERIES, RECEIVED, elsewhere)} == {"minute:20261231", "hour:202612", "day:2026"}


@pytest.mark.parametrize("data", OTHERS)
def test_events_that_are_none_of_a_projections_business_count_nothing(data: e.EventData) -> None:
    assert not any(changes(projection, data) for projection in PROJECTIONS)


def test_every_projection_has_a_group_and_keys_of_its_own() -> None:
    assert [each.group for each in PROJECTIONS] == [
        "projections.totals",
        "projections.subscribers",
        "projections.leads",
        "projections.series",
    ]


@given(
    st.sampled_from([RECEIVED, *(data for data, _, _ in OF_A_MAIL)]),
    st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),
)
def test_every_event_of_a_lead_counts_once_in_each_bucket(data: e.EventData, at: datetime) -> None:
    plain = [each for each in SERIES.increments(event(data, at), PLACE) if "sent:" not in each.field]
    assert [each.by for each in plain] in ([], [1, 1, 1])
    assert len({each.part for each in plain}) == len(plain)


def delivery(data: e.EventData, number: int, at: datetime = AT) -> Delivery:
    fields = {name.encode(): value.encode() for name, value in encode(event(data, at)).items()}
    return make_delivery(2, keys.stream(2, keys.OUTCOMES), f"5-{number}".encode(), fields)


def test_increments_become_effects_on_the_keys_of_partition_and_generation() -> None:
    [settlement] = settlements(SUBSCRIBERS, 2, 3, [delivery(SENT, 0)])
    key = "leadstream:{2}:p:subscribers:3"
    assert (settlement.stream, settlement.entry_id) == ("leadstream:{2}:outcomes", "5-0")
    assert settlement.effects == (
        Effect("HINCRBY", key, ("sub-1:sent", 1)),
        Effect("MAX", key, ("sub-1:last_sent", "2026-03-09T08:05:59.120Z")),
    )


def test_a_batch_adds_up_to_one_effect_per_counter_and_renews_each_lifetime_once() -> None:
    tomorrow = AT + timedelta(days=1)
    [made] = settlements(SERIES, 2, 1, [delivery(SENT, 0), delivery(SENT, 1), delivery(SENT, 2, tomorrow)])
    base = "leadstream:{2}:p:series:1:"
    assert made.entry_ids == ("5-0", "5-1", "5-2")
    assert len(made.effects) == len(set(made.effects)) == 14
    assert Effect("HINCRBY", base + "minute:20260309", ("08:05 sent", 2)) in made.effects
    assert Effect("HINCRBY", base + "minute:20260310", ("08:05 sent", 1)) in made.effects
    assert Effect("HINCRBY", base + "day:2026", ("03-09 sent:notification", 2)) in made.effects
    assert [effect for effect in made.effects if effect.command == "EXPIRE"] == [
        Effect("EXPIRE", base + "minute:20260309", (MINUTES_KEPT_S,)),
        Effect("EXPIRE", base + "minute:20260310", (MINUTES_KEPT_S,)),
    ]


def test_the_last_send_of_a_batch_is_the_latest_and_not_the_last_one_read() -> None:
    early = AT - timedelta(hours=1)
    [made] = settlements(SUBSCRIBERS, 2, 1, [delivery(SENT, 0), delivery(SENT, 1, early)])
    [latest] = [effect for effect in made.effects if effect.command == "MAX"]
    assert latest.args == ("sub-1:last_sent", "2026-03-09T08:05:59.120Z")


def test_an_entry_that_stands_twice_in_a_batch_counts_once() -> None:
    [made] = settlements(TOTALS, 2, 1, [delivery(RECEIVED, 0), delivery(RECEIVED, 1), delivery(RECEIVED, 0)])
    assert made.entry_ids == ("5-0", "5-1")
    assert made.effects == (Effect("HINCRBY", "leadstream:{2}:p:totals:1", ("leads", 2)),)


def test_an_event_that_counts_nothing_is_settled_all_the_same() -> None:
    nothing = Projection("nothing", 1, (keys.OUTCOMES,), lambda event, place: ())
    assert [each.effects for each in settlements(nothing, 2, 1, [delivery(SENT, 0)])] == [()]


def test_an_increment_adds_one_unless_it_says_otherwise() -> None:
    assert Increment("part", "field") == ("part", "field", 1, "")
