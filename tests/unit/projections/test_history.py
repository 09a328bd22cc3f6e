"""What a rebuild adds up, what the second count says, and how often trimming is due: pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_cli.doctor_checks import Verdict, retention
from leadstream_cli.fanout_replay import Replay
from leadstream_events import keys
from leadstream_events.envelope import Event, encode, make_event
from leadstream_events.errors import ConfigurationError
from leadstream_events.groups import working_on
from leadstream_events.retention import interval_s
from leadstream_events.schemas import events as e
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.subscriber import Subscriber
from leadstream_events.settings import load_settings
from leadstream_projections.counters import PROJECTIONS, Place, Projection
from leadstream_projections.rebuild_state import FIRST_VERSION, parse_filling
from leadstream_projections.sums import add_up
from leadstream_projections.verify_count import SentLeads, Tally, bucket_of, read_raw
from tests.integration.projections.workload import leads

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def placed(seed: int, count: int = 20) -> list[tuple[Event, Place]]:
    return [(event, Place(stream, f"1-{number}")) for number, (stream, event) in enumerate(leads(count, seed=seed))]


def raw(stream: str, event: Event, number: int = 1) -> Any:
    fields = {name.encode(): value.encode() for name, value in encode(event).items()}
    return read_raw(stream, f"1-{number}".encode(), fields)


def flat_sums(projection: Projection, items: list[tuple[Event, Place]]) -> dict[str, dict[str, Any]]:
    return {part: {**sums.counts, **sums.greatest} for part, sums in add_up(projection, items).items()}


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda each: each.name)
@given(seed=st.integers(0, 50))
def test_the_second_count_gives_what_the_projection_gives(projection: Projection, seed: int) -> None:
    items = placed(seed)
    tally = Tally(projection.name)
    for number, (event, place) in enumerate(items):
        if place.stream in projection.streams:
            tally.take(raw(place.stream, event, number))
    mine = [item for item in items if item[1].stream in projection.streams]
    assert tally.counts == flat_sums(projection, mine)


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda each: each.name)
def test_sums_of_the_halves_are_the_sums_of_the_whole_in_any_order(projection: Projection) -> None:
    items = placed(7)
    whole, backward = flat_sums(projection, items), flat_sums(projection, items[::-1])
    assert whole == backward
    halves: dict[str, dict[str, Any]] = {}
    for half in (items[:300], items[300:]):
        for part, fields in flat_sums(projection, half).items():
            mine = halves.setdefault(part, {})
            for name, value in fields.items():
                mine[name] = max(value, mine.get(name, "")) if isinstance(value, str) else mine.get(name, 0) + value
    assert halves == whole


def test_settled_and_redriven_mails_count_in_both_counts_alike() -> None:
    mail: dict[str, Any] = {"email_id": "m", "kind": e.Kind.NOTIFICATION, "subscriber_id": "s"}
    told = [
        (keys.EMAILS, e.EmailRequested(**mail, to="a@example.com", lead_entry="1-1")),
        (keys.EMAILS, e.EmailRequested(**mail, to="a@example.com", lead_entry="1-1", redrives=1, attempts_before=4)),
        (keys.OUTCOMES, e.MailSettled(**mail, sent=True, attempt=1, by="x")),
        (keys.OUTCOMES, e.MailSettled(**mail, sent=False, attempt=1, by="x")),
    ]
    for projection in PROJECTIONS:
        tally, items = Tally(projection.name), []
        for number, (stream, data) in enumerate(told):
            event = make_event(data, subject="lead", now=NOW)
            items.append((event, Place(stream, f"1-{number}")))
            tally.take(raw(stream, event, number))
        assert tally.counts == flat_sums(projection, items)


def test_what_nobody_can_read_is_counted_by_nobody() -> None:
    assert read_raw(keys.LEADS, b"1-1", {b"type": b"LeadReceived"}) is None
    fields = {b"id": b"1", b"type": b"EmailSent", b"v": b"1", b"time": b"2026-01-01T00:00:00Z", b"subject": b"lead"}
    assert read_raw(keys.OUTCOMES, b"1-1", {**fields, b"data": b"{}"}) is None


def test_the_first_end_of_a_reservation_is_what_counts() -> None:
    tally = SentLeads()

    def end(kind: str, email: str, reservation: int = 0) -> None:
        common: dict[str, Any] = {"email_id": email, "kind": e.Kind.NOTIFICATION, "subscriber_id": "s", "attempt": 1}
        common["reservation"] = reservation
        sent = e.EmailSent(**common, code=250, reply="ok", message_id="<m@example.com>")
        data = sent if kind == "sent" else e.EmailFailed(**common, cause="refused")
        tally.take(raw(keys.OUTCOMES, make_event(data, subject="lead", now=NOW)))

    for told in (("sent", "a"), ("sent", "a"), ("failed", "b"), ("sent", "b"), ("sent", "b", 1)):
        end(*told)
    assert tally.sent == {"s": 2}


def test_every_lead_is_in_one_bucket() -> None:
    assert {bucket_of(f"lead-{number}", 7) for number in range(200)} == set(range(7))


def test_a_rebuild_state_is_read_or_there_is_none() -> None:
    assert parse_filling({}) is None
    stored = {
        b"generation": b"4",
        b"version": b"2",
        b"letters": b"leads 1-1\nleads 2-1",
        b"done": b"7",
        b"leads": b"3-0",
    }
    found = parse_filling(stored)
    assert found is not None
    assert (found.generation, found.version, found.done, found.cut_off) == (4, 2, 7, False)
    assert found.left_out == {"leads 1-1", "leads 2-1"}
    assert found.positions == {"leads": "3-0"}
    cut = parse_filling({**stored, b"adding": b"1"})
    assert cut is not None and cut.cut_off
    assert FIRST_VERSION == 1


def test_trimming_is_due_every_tenth_of_what_is_kept_within_bounds() -> None:
    assert [interval_s(each) for each in (1.0, 100.0, 86_400.0)] == [0.5, 10.0, 60.0]
    for stream, own in ((keys.LEADS, keys.FANOUT), (keys.EMAILS, keys.MAILER), (keys.OUTCOMES, keys.QUOTA)):
        assert working_on(stream) == (own, *(item.group for item in PROJECTIONS if stream in item.streams))


def test_retain_is_a_duration_or_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().retain is None
    for text, seconds in (("off", None), ("7d", timedelta(days=7).total_seconds()), ("90", 90.0)):
        monkeypatch.setenv("LEADSTREAM_RETAIN", text)
        assert load_settings().retain == seconds
    monkeypatch.setenv("LEADSTREAM_RETAIN", "for ever")
    with pytest.raises(ConfigurationError, match=r"LEADSTREAM_RETAIN: .*, or off"):
        load_settings()


def test_doctor_takes_a_forgotten_group_for_a_problem_only_where_something_is_to_be_trimmed() -> None:
    assert retention(None, {}).verdict is Verdict.OK
    assert retention(None, {"old": 3}).verdict is Verdict.NOTE
    found = retention(3_600.0, {"old": 3})
    assert found.verdict is Verdict.PROBLEM
    assert "old (lag 3)" in found.found
    assert "groups remove old" in found.mend


def test_a_replay_counts_purchased_leads_down_and_leaves_known_mails_alone() -> None:
    who = Subscriber(id="s", email="s@example.com", name="Sam", leads_purchased=1, created_at=NOW)
    replay = Replay({"s": who}, {"s": 1}, welcome=False)
    dana = Lead(full_name="Dana Example", email="dana@example.com")
    found = []
    for number in range(2):
        event = make_event(e.LeadReceived(lead=dana), subject=f"lead-{number}", now=NOW)
        found.append(replay.compare(event, dana, 0, frozenset()))
    assert [(each.more, each.used_up) for each in found] == [(("s",), ()), ((), ("s",))]
    assert all(each.differs for each in found)
