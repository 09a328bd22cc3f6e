"""The envelope and the catalogue: whatever is stored is read, upcast, or named as what is wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ConfigDict

from leadstream_events.envelope import Event, decode, encode, make_event, rfc3339
from leadstream_events.errors import Malformed
from leadstream_events.schemas.events import EmailSkipped, EventData, LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.registry import CURRENT, UPCASTERS, read_data
from tests.support.cloudevent import from_cloudevent, to_cloudevent

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def event() -> Event:
    lead = Lead(full_name="Ada Example", email="ada@example.com", metadata={"a": 1})
    return make_event(LeadReceived(lead=lead), subject="lead-1", now=NOW, cause="c", trace="00-a-b-01")


def stored(**changes: bytes | None) -> dict[bytes, bytes]:
    fields = {name.encode(): value.encode() for name, value in encode(event()).items()}
    for name, value in changes.items():
        if value is None:
            del fields[name.encode()]
        else:
            fields[name.encode()] = value
    return fields


def test_an_event_is_read_as_it_was_written_in_one_order_of_fields() -> None:
    made = event()
    fields = encode(made)
    assert list(fields) == ["id", "type", "v", "time", "subject", "cause", "trace", "data"]
    assert fields["time"] == "2026-01-02T03:04:05.678Z"
    assert decode({name.encode(): value.encode() for name, value in fields.items()}) == made


def test_an_event_is_read_from_a_cloudevent_as_it_was_written() -> None:
    made = event()
    value = to_cloudevent(made, entry_id="1-1", stream="leads")
    assert (value["specversion"], value["type"], value["causationid"]) == ("1.0", "leadstream.LeadReceived", "c")
    assert from_cloudevent(value) == made


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({}, "missing_field"),
        (stored(data=None), "missing_field"),
        (stored(type=b"\xff"), "bad_envelope"),
        (stored(v=b"one"), "bad_envelope"),
        (stored(v=b"9" * 5_000), "bad_envelope"),
        (stored(v=b"0"), "bad_version"),
        (stored(v=b"-1"), "bad_version"),
        (stored(v=b"3"), "future_version"),
        (stored(type=b"Nonsense"), "unknown_type"),
        (stored(time=b"yesterday"), "bad_envelope"),
        (stored(time=b"2026-01-02T03:04:05"), "bad_envelope"),
        (stored(time=b"0001-01-01T00:00:00+23:00"), "bad_envelope"),
        (stored(data=b"\xff\xfe\x00"), "bad_data"),
        (stored(data=b"{}"), "bad_data"),
        (stored(data=b"[" * 100_000), "bad_data"),
        (stored(data=b'{"lead": {"full_name": "\\ud800", "email": "a@example.com"}}'), "bad_data"),
    ],
)
def test_what_cannot_be_read_is_malformed_with_its_cause(fields: dict[bytes, bytes], cause: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode(fields)
    assert caught.value.cause == cause


def test_a_time_with_another_offset_is_the_same_moment_in_utc() -> None:
    read = decode(stored(time=b"2026-01-02T05:04:05.678+02:00"))
    assert (read.time, rfc3339(read.time)) == (NOW, "2026-01-02T03:04:05.678Z")


@given(st.dictionaries(st.sampled_from(list(stored())) | st.binary(), st.binary() | st.sampled_from([b"1", b"{}"])))
@example(stored(time=b"9999-12-31T23:59:59-23:59"))
def test_no_bytes_raise_anything_but_malformed(fields: dict[bytes, bytes]) -> None:
    try:
        decode(stored() | fields)
    except Malformed as problem:
        assert problem.cause


@pytest.mark.parametrize("value", [{}, {"id": 1}, {"data": object()}, {"type": None, "time": "x"}])
def test_what_is_no_cloudevent_is_malformed(value: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        from_cloudevent(value)


def test_the_reason_quotes_no_personal_data() -> None:
    with pytest.raises(Malformed) as caught:
        decode(stored(data=b'{"lead": {"full_name": "Ada Example", "email": "ada at example"}}'))
    assert "ada" not in str(caught.value).lower()
    assert "lead.plain.email" in str(caught.value)
    assert "sealed" not in str(caught.value)


class Newest(EventData):
    """Version 3: `name` was split into two at 2, and got a default `title` at 3."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    first: str
    last: str
    title: str = ""


CATALOGUE: dict[str, tuple[int, type[EventData]]] = {"Named": (3, Newest)}
STEPS = {
    ("Named", 1): lambda data: dict(zip(("first", "last"), data["name"].split(" "), strict=True)),
    ("Named", 2): lambda data: data | {"title": "Dr"},
}


def read(version: int, raw: bytes, steps: Any = STEPS) -> EventData:
    return read_data("Named", version, raw, CATALOGUE, steps)


def test_old_data_is_upcast_step_by_step() -> None:
    assert read(1, b'{"name": "Ada Example"}') == Newest(first="Ada", last="Example", title="Dr")
    assert read(2, b'{"first": "Ada", "last": "Example"}') == Newest(first="Ada", last="Example", title="Dr")
    assert read(3, b'{"first": "Ada", "last": "Example"}') == Newest(first="Ada", last="Example")


@pytest.mark.parametrize(
    ("version", "raw", "cause"),
    [
        (4, b"{}", "future_version"),
        (1, b"{}", "bad_data"),
        (1, b'{"name": 5}', "bad_data"),
        (1, b'{"name": "Ada"}', "bad_data"),
        (1, b"[]", "bad_data"),
        (1, b"null", "bad_data"),
        (1, b"\xff", "bad_data"),
        (1, b"[" * 100_000, "bad_data"),
        (2, b'{"first": "Ada", "last": 1}', "bad_data"),
    ],
)
def test_old_data_that_cannot_be_upcast_is_malformed(version: int, raw: bytes, cause: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(version, raw)
    assert caught.value.cause == cause


def test_a_missing_step_is_named() -> None:
    with pytest.raises(Malformed, match="no step from v2") as caught:
        read(1, b'{"name": "Ada Example"}', {("Named", 1): STEPS["Named", 1]})
    assert caught.value.cause == "no_upcaster"


def test_every_older_version_of_every_type_has_its_step() -> None:
    wanted = {(name, version) for name, (newest, _) in CURRENT.items() for version in range(1, newest)}
    assert wanted <= set(UPCASTERS)
    assert all(name == model.__name__ for name, (_, model) in CURRENT.items())


def test_defaults_are_not_stored() -> None:
    data = EmailSkipped(email_id="m", kind="welcome", reason="suppressed")
    fields = encode(make_event(data, subject="s", now=NOW))
    assert fields["data"] == '{"email_id":"m","kind":"welcome","reason":"suppressed"}'
