"""Archive and stream read as one: every entry once, wherever it is by now.

An entry is archived before it is trimmed, so it is in the archive, in the stream, or in both. Reads go by entry ids and
look into the archive again when the stream has lost entries that were not read yet. Redis errors pass through, and so
do `Corrupt` and `Unreachable`: a history with a hole is never given for a whole one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from leadstream_archive.archive import Archive
from leadstream_archive.manifest import NOTHING
from leadstream_archive.segment import StoredEntry
from leadstream_events import keys
from leadstream_events.entry_ids import entry_order as order

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client

_PAGE = 1_000
_LEAD_STREAMS = (keys.LEADS, keys.EMAILS, keys.OUTCOMES, keys.DEAD)


class History:
    """What was ever stored, as far as it is kept. Without an archive it is what is in the streams."""

    def __init__(self, client: Client, archive: Archive | None) -> None:
        self.client, self.archive = client, archive

    def pages(
        self, partition: int, stream: str, after: str = NOTHING, upto: str | None = None, count: int = _PAGE
    ) -> AsyncIterator[list[StoredEntry]]:
        """The entries after `after`, up to and with `upto`, oldest first, at most `count` a page.

        Each exactly once, also while it is archived and trimmed. Ends at the end of the stream as it was reached.
        """
        return self.pages_of(keys.stream(partition, stream), after, upto, count)

    async def pages_of(
        self, key: str, after: str = NOTHING, upto: str | None = None, count: int = _PAGE
    ) -> AsyncIterator[list[StoredEntry]]:
        """`pages` of any stream by its key."""
        if self.archive:
            await self.archive.refresh()
        while True:
            if self.archive and order(self.archive.manifest.of(key).position) > order(after):
                async for page in self.archive.pages(key, after, upto):
                    for start in range(0, len(page), count):
                        yield page[start : start + count]
                    after = page[-1][0].decode()
                after = max(after, self.archive.manifest.of(key).position, key=order)
            if upto is not None and order(after) >= order(upto):
                return
            found = await self._stream_page(key, after, upto, count)
            if found is None:
                continue
            if found:
                yield found
                after = found[-1][0].decode()
            if len(found) < count:
                return

    async def _stream_page(self, key: str, after: str, upto: str | None, count: int) -> list[StoredEntry] | None:
        """The next page of the stream; None when entries before it have gone to the archive meanwhile."""
        page: list[StoredEntry]
        if self.archive is None:
            page = await self.client.xrange(key, f"({after}", upto or "+", count=count)
            return page
        async with self.client.pipeline(transaction=True) as pipe:
            pipe.xrange(key, f"({after}", upto or "+", count=count)
            pipe.xrange(key, "-", "+", count=1)
            page, oldest = await pipe.execute()
        # Nothing was trimmed beyond `after` while something at or before it is there. Dead letters leave in any order.
        whole = oldest and order(oldest[0][0].decode()) <= order(after) and keys.name_of(key) != keys.DEAD
        if not whole:
            await self.archive.refresh()
            if order(self.archive.manifest.of(key).position) > order(after):
                return None
        return page

    def newest(
        self, partition: int, stream: str, before: str | None = None, first: str = NOTHING, count: int = _PAGE
    ) -> AsyncIterator[list[StoredEntry]]:
        """The entries below `before` and at or after `first`, newest first, at most `count` a page."""
        return self.newest_of(keys.stream(partition, stream), before, first, count)

    async def newest_of(
        self, key: str, before: str | None = None, first: str = NOTHING, count: int = _PAGE
    ) -> AsyncIterator[list[StoredEntry]]:
        """`newest` of any stream by its key."""
        # Dead letters leave the stream in any order: what is archived of them is read from the archive alone.
        lowest = first
        if self.archive and keys.name_of(key) == keys.DEAD:
            position = (await self.archive.refresh()).of(key).position
            lowest = max(first, position, key=order)
        while True:
            page = await self.client.xrevrange(key, f"({before}" if before else "+", lowest, count=count)
            if page:
                yield page
                before = page[-1][0].decode()
            if len(page) < count:
                break
        if self.archive is None:
            return
        await self.archive.refresh()
        async for held in _in_pages(self.archive.newest(key, before, first), count):
            yield held

    async def archived_newest(self, key: str, count: int = _PAGE) -> AsyncIterator[list[StoredEntry]]:
        """What only the archive holds of a stream, newest first: the entries below the stream's oldest one."""
        if self.archive is None:
            return
        oldest = await self.client.xrange(key, count=1)
        await self.archive.refresh()
        below = oldest[0][0].decode() if oldest else None
        async for held in _in_pages(self.archive.newest(key, below), count):
            yield held

    async def entry(self, partition: int, stream: str, entry_id: str) -> StoredEntry | None:
        """One entry, from the stream or else from the archive; None when neither has it."""
        return await self.entry_of(keys.stream(partition, stream), entry_id)

    async def entry_of(self, key: str, entry_id: str) -> StoredEntry | None:
        """`entry` of any stream by its key."""
        return (await self.entries_at([(key, entry_id)]))[0]

    async def entries_at(self, places: Sequence[tuple[str, str]]) -> list[StoredEntry | None]:
        """The entries at (stream key, entry id), in that order; None where there is none any more."""
        if not places:
            return []
        async with self.client.pipeline(transaction=False) as pipe:
            for key, entry_id in places:
                pipe.xrange(key, entry_id, entry_id)
            replies = await pipe.execute()
        found: list[StoredEntry | None] = [reply[0] if reply else None for reply in replies]
        if self.archive and None in found:
            await self.archive.refresh()
            for number, (key, entry_id) in enumerate(places):
                if found[number] is None:
                    found[number] = await self.archive.entry(key, entry_id)
        return found

    async def archived_of_lead(self, partition: int, lead_id: str) -> list[tuple[str, bytes, dict[bytes, bytes]]]:
        """(stream key, entry id, fields) of all that the archive holds of a lead, in the order of storage."""
        if self.archive is None:
            return []
        await self.archive.refresh()
        found = []
        for stream in _LEAD_STREAMS:
            key = keys.stream(partition, stream)
            found += [(key, *entry) for entry in await self.archive.of_lead(key, lead_id)]
        return sorted(found, key=lambda each: order(each[1].decode()))

    async def missing(self, partition: int, stream: str) -> int:
        """How many entries that were ever added are neither in the archive nor in the stream (XINFO STREAM).

        0 promises that none is missing as long as the stream itself is the one that they were added to.
        """
        return await self.missing_of(keys.stream(partition, stream))

    async def missing_of(self, key: str) -> int:
        """`missing` of any stream by its key."""
        if not await self.client.exists(key):
            return 0
        info = await self.client.xinfo_stream(key)
        added, length = int(info["entries-added"]), int(info["length"])
        if self.archive is None:
            return added - length
        await self.archive.refresh()
        part = self.archive.manifest.of(key)
        both = 0
        after = NOTHING
        while True:
            page = await self.client.xrange(key, f"({after}", part.position, count=10_000)
            both += len(page)
            if len(page) < 10_000:
                return max(0, added - length - part.entries + both)
            after = page[-1][0].decode()

    async def complete(self, partition: int, stream: str) -> bool:
        """Whether archive and stream hold everything that was ever added."""
        return await self.missing(partition, stream) == 0


async def _in_pages(entries: AsyncIterator[StoredEntry], count: int) -> AsyncIterator[list[StoredEntry]]:
    page: list[StoredEntry] = []
    async for entry in entries:
        page.append(entry)
        if len(page) == count:
            yield page
            page = []
    if page:
        yield page
