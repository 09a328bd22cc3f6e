"""A segment: up to 100,000 entries of one stream in a file that `zstdcat` turns into CloudEvents JSON lines.

Layout (RFC 8878): one Zstandard frame per 1,000 lines or so, each with its content checksum, and at the end a skippable
frame, which decompressors pass over: the index (JSON, itself a Zstandard frame with a checksum), its length as four
bytes little-endian, and eight bytes of magic. The index names each frame's place, first and last entry, number of
entries, and a Bloom filter of the leads in it; entry ids begin with a time in ms, so it is an index by time as well.
"""

from __future__ import annotations

import hashlib
import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import zstandard

from leadstream_archive import bloom
from leadstream_archive.errors import Corrupt
from leadstream_archive.lines import BadLine, RawFields, from_line, to_line
from leadstream_events.entry_ids import entry_order as order

FRAME_ENTRIES = 1_000
SEGMENT_ENTRIES = 100_000
_LEVEL = 6
_MAGIC = b"LSARCH01"
_SKIPPABLE = 0x184D2A50
TAIL = 12  # bytes after the index: its length and the magic
# No frame of ours unpacks to more: an entry is bounded by what the API takes, and a frame by its number of entries.
_MOST_UNPACKED = 1 << 30

StoredEntry = tuple[bytes, RawFields]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: where it is in the file, and what is in it."""

    offset: int
    length: int
    first: str
    last: str
    entries: int
    leads: bytes


@dataclass(frozen=True, slots=True)
class Index:
    """What stands at the end of a segment."""

    stream: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """A finished segment, ready to be stored. `raw_bytes` counts its lines before compression."""

    stream: str
    content: bytes
    first: str
    last: str
    entries: int
    raw_bytes: int
    sha256: str


class SegmentWriter:
    """Takes entries of one stream in their order; `finish` gives the file. Keeps only compressed frames in memory."""

    def __init__(self, stream: str) -> None:
        self.stream, self.entries = stream, 0
        self._frames: list[Frame] = []
        self._content = bytearray()
        self._lines: list[bytes] = []
        self._leads: set[bytes] = set()
        self._ids: tuple[str, str] = ("", "")
        self._raw_bytes = 0
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=True)

    @property
    def last(self) -> str:
        """The entry id added last."""
        return self._ids[1] or (self._frames[-1].last if self._frames else "")

    def add(self, entry_id: bytes, fields: RawFields) -> None:
        """Adds an entry. Raises ValueError for one that is not after the last one."""
        name = entry_id.decode()
        if self.last and order(name) <= order(self.last):
            raise ValueError(f"{name} is not after {self.last}")
        self._lines.append(to_line(self.stream, entry_id, fields))
        self._leads.add(fields.get(b"subject", b""))
        self._ids = (self._ids[0] or name, name)
        self.entries += 1
        if len(self._lines) == FRAME_ENTRIES:
            self._close_frame()

    def _close_frame(self) -> None:
        raw = b"\n".join(self._lines) + b"\n"
        packed = self._compressor.compress(raw)
        first, last = self._ids
        leads = bloom.build(self._leads)
        self._frames.append(Frame(len(self._content), len(packed), first, last, len(self._lines), leads))
        self._content += packed
        self._raw_bytes += len(raw)
        self._lines, self._leads, self._ids = [], set(), ("", "")

    def finish(self) -> Packed:
        """Returns the segment; raises ValueError when nothing was added."""
        if self._lines:
            self._close_frame()
        if not self._frames:
            raise ValueError("a segment without entries")
        index = self._compressor.compress(_index_json(self.stream, self._frames))
        tail = struct.pack("<I", len(index)) + _MAGIC
        frame = struct.pack("<II", _SKIPPABLE, len(index) + len(tail)) + index + tail
        content = bytes(self._content) + frame
        first, last = self._frames[0].first, self._frames[-1].last
        sha256 = hashlib.sha256(content).hexdigest()
        return Packed(self.stream, content, first, last, self.entries, self._raw_bytes, sha256)


def _index_json(stream: str, frames: Sequence[Frame]) -> bytes:
    rows = [[f.offset, f.length, f.first, f.last, f.entries, b64encode(f.leads).decode()] for f in frames]
    return json.dumps({"stream": stream, "frames": rows}, separators=(",", ":")).encode()


def index_length(name: str, tail: bytes) -> int:
    """How many bytes before the last `TAIL` bytes of the file are its index; raises `Corrupt`."""
    if len(tail) != TAIL or tail[4:] != _MAGIC:
        raise Corrupt(name, "its end is missing or is not that of a segment")
    return int(struct.unpack("<I", tail[:4])[0])


def read_index(name: str, content: bytes) -> Index:
    """Reads the index from its own bytes; raises `Corrupt`."""
    try:
        value = json.loads(_unpack(content))
        frames = [Frame(*row[:5], b64decode(row[5], validate=True)) for row in value["frames"]]  # type: ignore[call-arg]
        return Index(str(value["stream"]), tuple(frames))
    except (zstandard.ZstdError, ValueError, KeyError, TypeError, IndexError):
        raise Corrupt(name, "its index cannot be read") from None


def _unpack(content: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(content, max_output_size=_MOST_UNPACKED, allow_extra_data=False)


def _lines(name: str, frame: Frame, content: bytes) -> list[bytes]:
    if len(content) != frame.length:
        raise Corrupt(name, f"ends in the frame at byte {frame.offset}")
    try:
        return _unpack(content).split(b"\n")[:-1]
    except zstandard.ZstdError:
        raise Corrupt(name, f"the frame at byte {frame.offset} is damaged") from None


def _entries(name: str, frame: Frame, lines: Sequence[bytes]) -> list[StoredEntry]:
    try:
        return [from_line(line) for line in lines]
    except BadLine:
        raise Corrupt(name, f"the frame at byte {frame.offset} is damaged") from None


def read_about(name: str, frame: Frame, content: bytes, subject: bytes) -> list[StoredEntry]:
    """Reads the entries of a frame with this subject; raises `Corrupt`. Lines without it are not parsed."""
    lines = _lines(name, frame, content)
    if len(lines) != frame.entries:
        raise Corrupt(name, f"the frame at byte {frame.offset} holds other entries than its index says")
    # In base64 (`leadstream.entry`) a subject cannot be seen.
    likely = [line for line in lines if subject in line or b'"leadstream.entry"' in line]
    return [entry for entry in _entries(name, frame, likely) if entry[1].get(b"subject") == subject]


def read_frame(name: str, frame: Frame, content: bytes) -> list[StoredEntry]:
    """Reads the entries of a frame from its bytes; raises `Corrupt` unless they are exactly what the index says."""
    entries = _entries(name, frame, _lines(name, frame, content))
    ids = [entry_id.decode() for entry_id, _ in entries]
    if len(ids) != frame.entries or ids[0] != frame.first or ids[-1] != frame.last or not _rises(ids):
        raise Corrupt(name, f"the frame at byte {frame.offset} holds other entries than its index says")
    return entries


def _rises(ids: Sequence[str]) -> bool:
    orders = [order(each) for each in ids]
    return all(earlier < later for earlier, later in pairwise(orders))


def read_whole(name: str, content: bytes) -> Iterator[StoredEntry]:
    """Every entry of a segment that was read whole; raises `Corrupt`."""
    length = index_length(name, content[-TAIL:])
    index = read_index(name, content[len(content) - TAIL - length : -TAIL])
    for frame in index.frames:
        yield from read_frame(name, frame, content[frame.offset : frame.offset + frame.length])
