"""What counting reads quickly is what `decode` reads, over every event type, and over versions old, new and unknown."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import Any, Union, get_args, get_origin

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leadstream_events.envelope import Event, decode
from leadstream_events.errors import Malformed
from leadstream_events.schemas.events import EmailSent, EventData
from leadstream_events.schemas.registry import CURRENT, read_data
from leadstream_projections.counters import PROJECTIONS, Place
from leadstream_projections.quick_decode import Counted, make_reader
from leadstream_projections.sums import add_up, merge

TIMES = ("2026-01-01T00:00:00.000Z", "2026-12-31T23:59:59.999Z", "2026-03-01T12:00:00+02:00", "0001-01-01T00:00:00Z")
ODD_TIMES = ("2026-01-01T00:00:00", "2026-W01-1T00:00:00Z", "0001-01-01T00:00:00+12:00", "soon", "", "2026-01-01")
PLACE = Place("outcomes", "5-0")

texts = st.one_of(st.sampled_from(("a", "notification", "2.0.0 ok", "ü", "")), st.text(max_size=6))
odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts,
    st.sampled_from(("5", "1.0", "true", "\ud800", "\x00")),
    st.lists(st.integers(), max_size=2), st.dictionaries(texts, texts, max_size=2), st.sampled_from(TIMES + ODD_TIMES),
    st.sampled_from((1.0, -0.0, 1e20, 2**53 + 1, 2**70, -(2**70))),
)  # fmt: skip


def value_of(annotation: Any) -> st.SearchStrategy[Any]:
    """JSON that fits a field, mostly."""
    if get_origin(annotation) is not None and type(None) in get_args(annotation):
        return st.one_of(st.none(), *(value_of(each) for each in get_args(annotation) if each is not type(None)))
    if get_origin(annotation) is Union:
        return st.one_of(*(value_of(each) for each in get_args(annotation)))
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(-3, 2**40)
    if annotation is datetime:
        return st.sampled_from(TIMES)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return st.sampled_from([each.value for each in annotation])
    if isinstance(annotation, type) and issubclass(annotation, EventData):
        return data_of(annotation)
    return texts


@st.composite
def data_of(draw: Any, model: type[EventData]) -> dict[str, Any]:
    """Data of an event, now and then with something missing, something more, or something else."""
    out = {
        name: draw(value_of(field.annotation))
        for name, field in model.model_fields.items()
        if field.is_required() or draw(st.booleans())
    }
    spoil = draw(st.sampled_from(("no", "no", "no", "drop", "more", "other")))
    if spoil == "drop" and out:
        del out[draw(st.sampled_from(sorted(out)))]
    elif spoil == "more":
        out[draw(texts)] = draw(odd)
    elif spoil == "other" and out:
        out[draw(st.sampled_from(sorted(out)))] = draw(odd)
    return out


@st.composite
def entries(draw: Any) -> dict[bytes, bytes]:
    """Fields of an entry of any type."""
    kind = draw(st.sampled_from([*CURRENT, "NeverHeardOf"]))
    newest, model = CURRENT.get(kind, (1, EmailSent))
    text = json.dumps(draw(data_of(model)), ensure_ascii=draw(st.booleans()))
    raw = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=2)) + raw[at + draw(st.integers(0, 2)) :]
    fields = {
        b"id": b"id-1",
        b"type": kind.encode(),
        b"v": str(draw(st.sampled_from((newest, newest, newest, 0, 1, 2, 3, "x")))).encode(),
        b"time": draw(st.sampled_from(TIMES * 3 + ODD_TIMES)).encode(),
        b"subject": b"lead-1",
        b"cause": draw(st.sampled_from((b"", b"", "ü".encode(), b"\xff"))),
        b"trace": draw(st.sampled_from((b"", b"", b"00-ab", b"\xff"))),
        b"data": raw,
    }
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=2)):
        change = draw(st.sampled_from(("no", "no", "no", "drop", "bytes")))
        if change == "drop":
            fields.pop(name, None)
        elif change == "bytes" and name != b"data":
            fields[name] = draw(st.binary(max_size=3))
    return fields


def outcome(read: Any, fields: dict[bytes, bytes]) -> Any:
    """Everything that counting can see, or why there is nothing."""
    try:
        event: Counted | Event = read(fields)
    except Malformed as problem:
        return problem.args
    names = CURRENT[event.type][1].model_fields
    data = {name: getattr(event.data, name) for name in names}
    if isinstance(event.data, EventData):
        data = event.data.model_dump()
    else:
        data = {name: plain(value) for name, value in data.items()}
    sums = [add_up(each, [(event, PLACE)]) for each in PROJECTIONS]
    return event.id, event.type, event.time, event.subject, data, sums


def plain(value: Any) -> Any:
    """A nested struct as pydantic dumps its model."""
    if hasattr(value, "__struct_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    return value


def entry(data: bytes, kind: str = "EmailSkipped") -> dict[bytes, bytes]:
    return {
        b"id": b"1", b"type": kind.encode(), b"v": b"1", b"time": TIMES[0].encode(), b"subject": b"s", b"data": data,
    }  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(entries())
@example(entry(b'{"email_id":"e","kind":"welcome","reason":"r"}'))
@example(entry(b'\xef\xbb\xbf{"email_id":"e","kind":"welcome","reason":"r"}'))
@example(entry(b'{"email_id":"e","kind":"welcome","reason":"\xff"}'))
@example(entry(b'{"email_id":"e","kind":"welcome","reason":"a\x01b"}'))
@example(entry(b'{"email_id":"e","kind":"welcome","reason":"\\ud800"}'))
@example(entry(b'{"email_id":5,"email_id":"e","kind":"welcome","reason":"r"}'))
@example(entry(b'{"email_id":"e","kind":"welcome","reason":"r","email_id":5}'))
@example(entry(b'{"email_id":"e","kind":"welcome","reason":"r","reservation":1.0}'))
@example(entry(b'{"email_id":"e","kind":"welcome","reason":"r","reservation":1e30}'))
@example(entry(b'{"email_id":"e","kind":"welcome","reason":"r"} x'))
@example(entry(b"[" * 100_000))
def test_what_is_read_quickly_is_what_decode_reads(fields: dict[bytes, bytes]) -> None:
    assert outcome(make_reader(), fields) == outcome(decode, fields)


def test_every_event_that_is_counted_often_is_read_quickly() -> None:
    read = make_reader()
    sent = b'{"email_id":"e","kind":"notification","attempt":1,"code":250,"reply":"ok","message_id":"m"}'
    assert isinstance(read(entry(sent, "EmailSent")), Counted)
    assert isinstance(read(entry(sent.replace(b"250", b'"250"'), "EmailSent")), Event)  # pydantic takes it: left to it


def test_old_versions_go_through_their_upcasters() -> None:
    current: dict[str, tuple[int, type[EventData]]] = {**CURRENT, "EmailSent": (3, EmailSent)}
    steps = {
        ("EmailSent", 1): lambda data: {**data, "reply": "renamed"},
        ("EmailSent", 2): lambda data: {**data, "code": int(data["code"])},
    }

    def whole(fields: Any) -> Event:
        version = int(fields[b"v"])
        data = read_data("EmailSent", version, fields[b"data"], current, steps)
        return Event("1", "EmailSent", datetime.fromisoformat(TIMES[0]), "s", data)

    read = make_reader(current, whole)
    old = entry(b'{"email_id":"e","kind":"notification","attempt":1,"code":"250","message_id":"m"}', "EmailSent")
    assert read(old).data.model_dump()["reply"] == "renamed"
    assert isinstance(read({**old, b"v": b"3"} | {b"data": old[b"data"][:-1] + b',"reply":""}'}), Event)
    good = entry(
        b'{"email_id":"e","kind":"notification","attempt":1,"code":250,"reply":"","message_id":"m"}', "EmailSent"
    )
    assert isinstance(read({**good, b"v": b"3"}), Counted)
    with pytest.raises(Malformed, match="future_version"):
        read({**good, b"v": b"4"})


def test_pages_merged_are_the_sum_of_all() -> None:
    made = [
        (decode(entry(json.dumps({"email_id": "e", "kind": kind, "reason": reason}).encode())), PLACE)
        for kind in ("welcome", "notification")
        for reason in ("a", "b", "a")
    ]
    for projection in PROJECTIONS:
        merged = add_up(projection, made[:2])
        merge(merged, add_up(projection, made[2:]))
        assert merged == add_up(projection, made)
