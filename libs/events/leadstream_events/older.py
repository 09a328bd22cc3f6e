"""What reads beyond the streams: the archive, as those see it who must not know it (`leadstream_archive.history`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

StoredEntry = tuple[bytes, dict[bytes, bytes]]


class Older(Protocol):
    """Entries of stream and archive as one. Raises `ArchiveUnavailable` rather than to leave something out."""

    async def entries_at(self, places: Sequence[tuple[str, str]]) -> list[StoredEntry | None]:
        """The entries at (stream key, entry id), in that order; None where there is none any more."""

    def newest_of(
        self, key: str, before: str | None = None, first: str = "0-0", count: int = 1_000
    ) -> AsyncIterator[list[StoredEntry]]:
        """The entries of a stream below `before` and at or after `first`, newest first, at most `count` a page."""

    async def archived_of_lead(self, partition: int, lead_id: str) -> list[tuple[str, bytes, dict[bytes, bytes]]]:
        """(stream key, entry id, fields) of all that is archived of a lead, in the order of storage."""
