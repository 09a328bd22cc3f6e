"""Reading the archive: the newest manifest, and entries by their id or lead. Threads do what blocks.

Everything that is read is checked against its checksum; what does not fit raises `Corrupt`, and a place that does not
answer `Unreachable`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence

from leadstream_archive.bloom import may_hold
from leadstream_archive.errors import Corrupt
from leadstream_archive.manifest import FOLDER, Archived, Manifest, Segment, load, number_of
from leadstream_archive.segment import TAIL, Frame, Index, StoredEntry, index_length, read_about, read_frame, read_index
from leadstream_archive.stores import Store
from leadstream_events.entry_ids import entry_order as order

_INDEXES_KEPT = 64
# Frames that lie beside each other are read at once, up to this many bytes.
_READ_BYTES = 1 << 20


class Superseded(Exception):
    """A segment was replaced or deleted while it was read: the newest manifest tells where its entries are."""


class Archive:
    """One archive. `place` is what people call it; it holds no secret."""

    def __init__(self, store: Store, place: str) -> None:
        self.store, self.place = store, place
        self.manifest = Manifest()
        self._indexes: OrderedDict[str, Index] = OrderedDict()

    async def refresh(self) -> Manifest:
        """Reads the newest manifest, unless it is the one at hand; an empty archive has an empty one."""
        self.manifest = await asyncio.to_thread(self._newest)
        return self.manifest

    def _newest(self) -> Manifest:
        while True:
            numbers = {number_of(each.name): each.name for each in self.store.list(FOLDER)}
            newest = max((number for number in numbers if number is not None), default=0)
            if newest == self.manifest.number:
                return self.manifest
            if not newest:
                raise Corrupt(FOLDER, "all manifests are gone")
            try:
                return load(numbers[newest], self.store.read(numbers[newest]))
            except FileNotFoundError:  # a newer one took its place just now
                continue

    async def pages(self, stream: str, after: str = "0-0", upto: str | None = None) -> AsyncIterator[list[StoredEntry]]:
        """The entries after `after`, up to and with `upto`, oldest first, about 1,000 at a time.

        As of the manifest at hand; where a segment was replaced meanwhile, the newest one is read.
        """
        while True:
            segments = self.manifest.of(stream).overlapping(after, upto)
            if not segments:
                return
            try:
                async for page in self._segment_pages(segments[0], stream, after, upto):
                    yield page
                after = segments[0].last
            except Superseded:
                await self.refresh()

    async def _segment_pages(
        self, segment: Segment, stream: str, after: str, upto: str | None
    ) -> AsyncIterator[list[StoredEntry]]:
        index = await self._index(segment, stream)
        wanted = [f for f in index.frames if _overlaps(f, after, upto)]
        for run in _runs(wanted):
            for entries in await asyncio.to_thread(self._read, segment, run):
                page = [entry for entry in entries if _within(entry, after, upto)]
                if page:
                    yield page

    async def newest(self, stream: str, before: str | None = None, first: str = "0-0") -> AsyncIterator[StoredEntry]:
        """The entries below `before` and at or after `first`, newest first."""
        while True:
            found = [each for each in self.manifest.of(stream).segments if _between(each, first, before)]
            if not found:
                return
            try:
                index = await self._index(found[-1], stream)
                for frame in reversed(index.frames):
                    if not _between(frame, first, before):
                        continue
                    (entries,) = await asyncio.to_thread(self._read, found[-1], [frame])
                    for entry in reversed(entries):
                        at = order(entry[0].decode())
                        if at >= order(first) and (before is None or at < order(before)):
                            yield entry
                    before = frame.first
                before = found[-1].first
            except Superseded:
                await self.refresh()

    async def entry(self, stream: str, entry_id: str) -> StoredEntry | None:
        """One entry by its id, or None."""
        for _ in range(2):
            segments = [s for s in self.manifest.of(stream).segments if _holds(s, entry_id)]
            try:
                for segment in segments:
                    index = await self._index(segment, stream)
                    for frame in index.frames:
                        if _holds(frame, entry_id):
                            (entries,) = await asyncio.to_thread(self._read, segment, [frame])
                            return next((e for e in entries if e[0].decode() == entry_id), None)
                return None
            except Superseded:
                await self.refresh()
        return None

    async def of_lead(self, stream: str, lead_id: str) -> list[StoredEntry]:
        """Every entry of a stream whose subject is this lead, oldest first; reads the frames that may hold it."""
        key = lead_id.encode()
        found: list[StoredEntry] = []
        after = "0-0"
        while True:
            segments = self.manifest.of(stream).overlapping(after, None)
            if not segments:
                return found
            try:
                index = await self._index(segments[0], stream)
                for frame in index.frames:
                    if _overlaps(frame, after, None) and may_hold(frame.leads, key):
                        entries = await asyncio.to_thread(self._read_about, segments[0], frame, key)
                        found += [entry for entry in entries if _within(entry, after, None)]
                    after = frame.last
                after = segments[0].last
            except Superseded:
                await self.refresh()

    async def _index(self, segment: Segment, stream: str) -> Index:
        known = self._indexes.get(segment.name)
        if known is None:
            known = await asyncio.to_thread(self._read_index, segment)
            if known.stream != stream:
                raise Corrupt(segment.name, "holds another stream than the manifest says")
            self._indexes[segment.name] = known
            if len(self._indexes) > _INDEXES_KEPT:
                self._indexes.popitem(last=False)
        self._indexes.move_to_end(segment.name)
        return known

    def _read_index(self, segment: Segment) -> Index:
        tail = self._bytes(segment, segment.bytes - TAIL, TAIL)
        length = index_length(segment.name, tail)
        index = read_index(segment.name, self._bytes(segment, segment.bytes - TAIL - length, length))
        if sum(frame.entries for frame in index.frames) != segment.entries:
            raise Corrupt(segment.name, "its index and the manifest differ")
        return index

    def _read(self, segment: Segment, frames: Sequence[Frame]) -> list[list[StoredEntry]]:
        start = frames[0].offset
        content = self._bytes(segment, start, frames[-1].offset + frames[-1].length - start)
        at = [frame.offset - start for frame in frames]
        return [
            read_frame(segment.name, frame, content[begin : begin + frame.length])
            for frame, begin in zip(frames, at, strict=True)
        ]

    def _read_about(self, segment: Segment, frame: Frame, subject: bytes) -> list[StoredEntry]:
        return read_about(segment.name, frame, self._bytes(segment, frame.offset, frame.length), subject)

    def _bytes(self, segment: Segment, start: int, length: int) -> bytes:
        try:
            if start < 0:
                raise Corrupt(segment.name, "is shorter than its index says")
            return self.store.read(segment.name, start, length)
        except FileNotFoundError:
            if segment.name in {name for part in self._newest().streams.values() for name in _names(part)}:
                raise Corrupt(segment.name, "is missing") from None
            raise Superseded(segment.name) from None


def _names(part: Archived) -> Iterator[str]:
    return (segment.name for segment in part.segments)


def _overlaps(frame: Frame, after: str, upto: str | None) -> bool:
    return order(frame.last) > order(after) and (upto is None or order(frame.first) <= order(upto))


def _between(part: Segment | Frame, first: str, before: str | None) -> bool:
    return order(part.last) >= order(first) and (before is None or order(part.first) < order(before))


def _within(entry: StoredEntry, after: str, upto: str | None) -> bool:
    at = order(entry[0].decode())
    return at > order(after) and (upto is None or at <= order(upto))


def _holds(part: Segment | Frame, entry_id: str) -> bool:
    return order(part.first) <= order(entry_id) <= order(part.last)


def _runs(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Frames in groups that are read at once."""
    run: list[Frame] = []
    for frame in frames:
        if run and frame.offset + frame.length - run[0].offset > _READ_BYTES:
            yield run
            run = []
        run.append(frame)
    if run:
        yield run
