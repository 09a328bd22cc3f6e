"""Writing to the archive: segments first, then the manifest that names them.

Until the manifest is stored nothing counts; once it is, it all does. Small segments are replaced by their sum as the
archive grows, so that an hour's few entries make no file of their own for ever. Files that no manifest names any
more stay for a while, for readers that are at them.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from structlog.stdlib import get_logger

from leadstream_archive.archive import Archive
from leadstream_archive.errors import Corrupt, LostTurn
from leadstream_archive.manifest import FOLDER, Archived, Manifest, Segment, dump, file_name, number_of
from leadstream_archive.segment import SEGMENT_ENTRIES, Packed, SegmentWriter, StoredEntry, read_whole
from leadstream_events import keys
from leadstream_events.entry_ids import entry_order as order
from leadstream_events.envelope import rfc3339

logger = get_logger("leadstream.archive")

SEGMENTS = "segments/"
# How long files stay that no manifest names: longer than anybody reads one segment, or writes one.
GRACE_S = 3_600.0
_MANIFESTS_KEPT = 20


class ArchiveWriter:
    """One writer at work: `begin`, any number of `append` and `drop_before`, `commit`; and again.

    Two writers at once do no harm: the second `commit` raises `LostTurn`, and its segments are swept up later.
    """

    def __init__(self, archive: Archive, name: str, *, clock: Callable[[], float] = time.time) -> None:
        self._archive, self._name, self._clock = archive, name, clock
        self._manifest = archive.manifest
        self._changed = False

    async def begin(self) -> Manifest:
        """Starts from the newest manifest; what was appended and not committed is forgotten."""
        self._manifest = await self._archive.refresh()
        self._changed = False
        return self._manifest

    async def append(self, stream: str, pages: AsyncIterator[list[StoredEntry]], most: int = SEGMENT_ENTRIES) -> int:
        """Takes up to about `most` entries, stores them as a segment, and returns how many.

        They must come in order, from just after the stream's position. Counts only once it is committed.
        """
        part = self._manifest.of(stream)
        writer = SegmentWriter(stream)
        async for page in pages:
            await asyncio.to_thread(_add_all, writer, page)
            if writer.entries >= most:
                break
        if not writer.entries:
            return 0
        count, position = writer.entries, writer.last
        packed = await asyncio.to_thread(writer.finish)
        kept, packed = await self._joined(part.segments, packed)
        gone = part.segments[len(kept) :]
        stored = await self._store(packed)
        self._manifest = self._manifest.with_stream(stream, Archived(position, part.dropped, (*kept, stored)))
        self._supersede(gone)
        return count

    async def _joined(self, segments: Sequence[Segment], new: Packed) -> tuple[tuple[Segment, ...], Packed]:
        """The new segment together with older ones that are no larger; and those that stay as they are."""
        total, at = new.entries, len(segments)
        while at and segments[at - 1].entries <= total and total + segments[at - 1].entries <= SEGMENT_ENTRIES:
            at -= 1
            total += segments[at].entries
        if at == len(segments):
            return tuple(segments), new
        try:
            return tuple(segments[:at]), await asyncio.to_thread(self._join, segments[at:], new)
        except (Corrupt, FileNotFoundError) as error:
            name = error.name if isinstance(error, Corrupt) else "a file"
            logger.error("a segment is damaged and stays as it is", file=name, mend="leadstream archive verify")
            return tuple(segments), new

    def _join(self, segments: Sequence[Segment], new: Packed) -> Packed:
        writer = SegmentWriter(new.stream)
        for segment in segments:
            content = self._archive.store.read(segment.name)
            if hashlib.sha256(content).hexdigest() != segment.sha256:
                raise Corrupt(segment.name, "its checksum differs")
            _add_all(writer, read_whole(segment.name, content))
        _add_all(writer, read_whole("", new.content))
        return writer.finish()

    async def _store(self, packed: Packed) -> Segment:
        tag, _, name = packed.stream.removeprefix(keys.PREFIX).partition(":")
        file = f"{SEGMENTS}{tag.strip('{}')}/{name}/{packed.first}_{packed.last}_{uuid4().hex[:8]}.zst"
        if not await asyncio.to_thread(self._archive.store.create, file, packed.content):
            raise LostTurn(f"{file} is there already")
        return Segment(
            file, packed.first, packed.last, packed.entries, len(packed.content), packed.raw_bytes, packed.sha256
        )

    def drop_before(self, stream: str, before: str) -> int:
        """Takes segments out that hold only entries below `before`; returns how many entries those are.

        None of them may still be in the stream: readers go to the archive alone for what is below its position.
        """
        part = self._manifest.of(stream)
        old = [segment for segment in part.segments if order(segment.last) < order(before)]
        if not old:
            return 0
        dropped = sum(segment.entries for segment in old)
        left = replace(part, dropped=part.dropped + dropped, segments=part.segments[len(old) :])
        self._manifest = self._manifest.with_stream(stream, left)
        self._supersede(old)
        return dropped

    def _supersede(self, segments: Sequence[Segment]) -> None:
        gone = {segment.name: self._clock() for segment in segments}
        self._manifest = replace(self._manifest, superseded={**self._manifest.superseded, **gone})
        self._changed = True

    async def commit(self) -> Manifest:
        """Stores the new manifest durably and returns it. Raises `LostTurn`: then nothing of it counts."""
        if not self._changed:
            return self._manifest
        made = replace(
            self._manifest,
            number=self._manifest.number + 1,
            writer=self._name,
            written_at=rfc3339(datetime.fromtimestamp(self._clock(), UTC)),
        )
        await asyncio.to_thread(self._publish, made)
        self._archive.manifest = self._manifest = made
        self._changed = False
        return made

    def _publish(self, manifest: Manifest) -> None:
        store = self._archive.store
        if not store.create(file_name(manifest.number), dump(manifest)):
            raise LostTurn("another process has written to the archive")
        # A writer that slept may have taken the number of a manifest that is swept up by now.
        newest = max(number_of(each.name) or 0 for each in store.list(FOLDER))
        if newest > manifest.number:
            raise LostTurn("another process has written to the archive")

    async def sweep(self) -> int:
        """Deletes files that nothing needs any more; returns how many. Only after a `commit` or `begin`."""
        return await asyncio.to_thread(self._sweep)

    def _sweep(self) -> int:
        long_ago = self._clock() - GRACE_S
        manifest = self._manifest
        superseded = {name for name, since in manifest.superseded.items() if since < long_ago}
        needed = manifest.names() - superseded
        store = self._archive.store
        gone = [each.name for each in store.list(SEGMENTS) if each.name not in needed and each.modified_s < long_ago]
        for each in store.list(FOLDER):
            number = number_of(each.name)
            old = number is not None and number <= manifest.number - _MANIFESTS_KEPT
            if old or (number is None and each.modified_s < long_ago):
                gone.append(each.name)
        store.delete(gone)
        if superseded:
            left = {name: since for name, since in manifest.superseded.items() if name not in superseded}
            self._manifest = replace(manifest, superseded=left)  # stored with the next change
        return len(gone)


def _add_all(writer: SegmentWriter, entries: Iterable[StoredEntry]) -> None:
    for entry_id, fields in entries:
        writer.add(entry_id, fields)
