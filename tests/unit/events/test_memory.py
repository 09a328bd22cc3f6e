"""What is remembered of an entry is what reading it again would say."""

from __future__ import annotations

from datetime import UTC, datetime

from leadstream_events.envelope import flat, make_event
from leadstream_events.runtime.delivery import Memory, read_delivery
from leadstream_events.schemas.events import EmailSkipped, Kind

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def flat_fields(reason: str = "suppressed") -> list[bytes]:
    data = EmailSkipped(email_id="m1", kind=Kind.NOTIFICATION, subscriber_id="s1", reason=reason)
    return [part.encode() for part in flat(make_event(data, subject="l1", now=NOW))]


def test_the_same_entry_read_by_another_group_is_decoded_once() -> None:
    memory, entry = Memory(), flat_fields()
    first = memory.read_delivery(0, "leadstream:{0}:outcomes", b"1-1", entry)
    second = memory.read_delivery(0, "leadstream:{0}:outcomes", b"1-1", list(entry))
    assert first == second == read_delivery(0, "leadstream:{0}:outcomes", b"1-1", entry)
    assert second.event is first.event


def test_other_bytes_under_the_same_event_id_are_read_anew() -> None:
    memory, entry = Memory(), flat_fields()
    other = [b"id", entry[1], *flat_fields("inactive")[2:]]
    memory.read_delivery(0, "s", b"1-1", entry)
    found = memory.read_delivery(0, "s", b"1-2", other)
    assert found == read_delivery(0, "s", b"1-2", other)


def test_an_entry_stored_twice_keeps_its_places() -> None:
    memory, entry = Memory(), flat_fields()
    places = [(0, "s", b"1-1"), (0, "s", b"1-2"), (1, "t", b"1-1")]
    assert [memory.read_delivery(*place, entry) for place in places] == [
        read_delivery(*place, entry) for place in places
    ]


def test_what_cannot_be_read_stays_unreadable_and_the_memory_stays_small() -> None:
    memory = Memory(size=2)
    for number in range(5):
        broken = [b"id", b"%d" % number, b"type", b"?"]
        assert memory.read_delivery(0, "s", b"1-%d" % number, broken).problem is not None
    gone = memory.read_delivery(0, "s", b"9-9", [])
    assert gone.problem is not None and gone.problem.cause == "lost_trimmed"
    assert len(memory._kept) == 2
