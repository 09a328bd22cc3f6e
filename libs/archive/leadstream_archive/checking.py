"""Checks an archive against its own checksums, every byte of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from leadstream_archive.archive import Archive
from leadstream_archive.errors import Corrupt
from leadstream_archive.manifest import Archived, Segment
from leadstream_archive.segment import TAIL, index_length, read_index, read_whole
from leadstream_archive.stores import Store
from leadstream_events.entry_ids import entry_order as order


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that was read whole; `problem` is empty when it is what was written."""

    stream: str
    name: str
    entries: int
    problem: str = ""


async def check(archive: Archive) -> AsyncIterator[Checked]:
    """Every segment of the newest manifest. Raises `Corrupt` for the manifest itself, and `Unreachable`."""
    manifest = await archive.refresh()
    for stream, part in sorted(manifest.streams.items()):
        for segment in part.segments:
            yield await asyncio.to_thread(_check, archive.store, stream, segment)
        for problem in _order_problems(part):
            yield Checked(stream, "the manifest", 0, problem)


def _check(store: Store, stream: str, segment: Segment) -> Checked:
    try:
        content = store.read(segment.name)
    except FileNotFoundError:
        return Checked(stream, segment.name, 0, "is missing")
    if len(content) < segment.bytes:
        problem = f"is torn: {len(content)} of {segment.bytes} bytes"
        return Checked(stream, segment.name, 0, problem)
    if hashlib.sha256(content).hexdigest() != segment.sha256:
        return Checked(stream, segment.name, 0, _where(segment.name, content))
    try:
        length = index_length(segment.name, content[-TAIL:])
        if read_index(segment.name, content[len(content) - TAIL - length : -TAIL]).stream != stream:
            return Checked(stream, segment.name, 0, "holds another stream than the manifest says")
        ids = [entry_id.decode() for entry_id, _ in read_whole(segment.name, content)]
    except Corrupt as error:
        return Checked(stream, segment.name, 0, error.why)
    if (len(ids), ids[0], ids[-1]) != (segment.entries, segment.first, segment.last):
        return Checked(stream, segment.name, len(ids), "holds other entries than the manifest says")
    return Checked(stream, segment.name, len(ids))


def _where(name: str, content: bytes) -> str:
    """What is damaged, as far as the checksums inside tell."""
    try:
        for _ in read_whole(name, content):
            pass
    except Corrupt as error:
        return f"its checksum differs: {error.why}"
    return "its checksum differs"


def _order_problems(part: Archived) -> list[str]:
    problems = []
    last = "0-0"
    for segment in part.segments:
        if order(segment.first) <= order(last):
            problems.append(f"{segment.name} overlaps the segment before it")
        last = segment.last
    if part.segments and order(part.position) < order(last):
        problems.append("the position is before the last entry")
    return problems
