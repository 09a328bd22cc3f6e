"""What can be wrong with an archive."""

from __future__ import annotations

from leadstream_events.errors import ArchiveUnavailable


class Corrupt(ArchiveUnavailable):
    """A file of the archive is not what was written: `name` is the file, `why` says what was found.

    Raised by every read that meets it: nothing of an archive is skipped silently.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"archive file {name} {why}")
        self.name, self.why = name, why


class LostTurn(Exception):
    """Another process has written to the archive since this one read its manifest: nothing of ours was taken over."""


class Unreachable(ArchiveUnavailable):
    """The place where the archive is kept does not answer, or refuses; the text names neither key nor secret."""
