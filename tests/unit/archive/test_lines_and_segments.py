"""Lines give back the same bytes, segments the same entries, and damage is named."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from leadstream_archive import bloom
from leadstream_archive.errors import Corrupt
from leadstream_archive.lines import RAW_TYPE, from_line, to_line
from leadstream_archive.segment import SegmentWriter, read_whole
from leadstream_events.envelope import decode, encode
from tests.support.cloudevent import from_cloudevent
from tests.support.entries import lead_event

STREAM = "leadstream:{0}:leads"


def _fields(lead: str = "") -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in encode(lead_event(lead)).items()}


def test_an_event_is_a_cloudevent_and_comes_back_byte_for_byte() -> None:
    fields = _fields()
    fields[b"data"] = fields[b"data"].replace(b":", b" : ", 1)  # another writer's blanks
    line = to_line(STREAM, b"5-1", fields)
    assert from_line(line) == (b"5-1", fields)
    import json

    assert from_cloudevent(json.loads(line)) == decode(fields)


@given(st.dictionaries(st.binary(), st.binary()))
def test_any_fields_come_back(fields: dict[bytes, bytes]) -> None:
    entry_id, back = from_line(to_line(STREAM, b"5-1", fields))
    assert (entry_id, list(back.items())) == (b"5-1", list(fields.items()))


@pytest.mark.parametrize("data", [b"", b"{", b'1,"id":"x"', b'{"a":\n1}', b"\xff", b'{"a":1} '])
def test_data_that_would_break_the_line_is_kept_raw(data: bytes) -> None:
    fields = _fields() | {b"data": data}
    line = to_line(STREAM, b"5-1", fields)
    assert from_line(line) == (b"5-1", fields) and b"\n" not in line
    if data != b'{"a":1} ':
        assert RAW_TYPE.encode() in line


def test_a_filter_finds_what_it_holds_and_little_else() -> None:
    held = [f"lead-{n}".encode() for n in range(1000)]
    made = bloom.build(held)
    assert all(bloom.may_hold(made, key) for key in held)
    assert sum(bloom.may_hold(made, f"other-{n}".encode()) for n in range(10_000)) < 300


def _packed(count: int = 2500) -> tuple[list[tuple[bytes, dict[bytes, bytes]]], bytes]:
    entries = [(f"{n}-0".encode(), _fields(f"lead-{n}")) for n in range(1, count + 1)]
    writer = SegmentWriter(STREAM)
    for entry in entries:
        writer.add(*entry)
    packed = writer.finish()
    assert (packed.first, packed.last, packed.entries) == ("1-0", f"{count}-0", count)
    return entries, packed.content


def test_a_segment_gives_its_entries_and_any_zstd_its_lines() -> None:
    entries, content = _packed()
    assert list(read_whole("s", content)) == entries
    with zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True) as reader:
        assert reader.read().count(b"\n") == 2500


def test_entries_out_of_order_are_refused() -> None:
    writer = SegmentWriter(STREAM)
    writer.add(b"5-1", _fields())
    with pytest.raises(ValueError, match="not after"):
        writer.add(b"5-1", _fields())


def test_a_torn_segment_is_named_at_every_length() -> None:
    _, content = _packed(1200)
    for length in range(0, len(content), 997):
        with pytest.raises(Corrupt, match="torn"):
            list(read_whole("torn", content[:length]))


def test_a_flipped_bit_is_named_wherever_it_is() -> None:
    entries, content = _packed(1200)
    for at in range(0, len(content), 499):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        try:
            assert list(read_whole("flipped", bytes(damaged))) == entries, at
        except Corrupt as found:
            assert found.name == "flipped"
