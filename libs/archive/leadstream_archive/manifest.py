"""The manifest: which segments belong to the archive, and how far each stream is archived.

Each state of it is a file of its own, `manifests/manifest-<number>.json`, created whole and never changed; the highest
number counts. That a file of that name can be created only once is what fences two writers: the slower one loses.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from leadstream_archive.errors import Corrupt
from leadstream_events.entry_ids import entry_order as order

NOTHING = "0-0"
FORMAT = 1
FOLDER = "manifests/"
_NAME = re.compile(FOLDER + r"manifest-(\d{12})\.json")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of entries; `first` and `last` are entry ids, both in it."""

    name: str
    first: str
    last: str
    entries: int
    bytes: int
    raw_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Archived:
    """A stream's part: `position` is the last entry ever archived, `dropped` counts entries deleted by ARCHIVE_KEEP."""

    position: str = NOTHING
    dropped: int = 0
    segments: tuple[Segment, ...] = ()

    @property
    def entries(self) -> int:
        """How many entries are in its segments."""
        return sum(segment.entries for segment in self.segments)

    def overlapping(self, after: str, upto: str | None) -> list[Segment]:
        """The segments with entries after `after` and at or before `upto`, in order."""
        return [
            segment
            for segment in self.segments
            if order(segment.last) > order(after) and (upto is None or order(segment.first) <= order(upto))
        ]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One state of the archive. `superseded`: file to the time (s) since when no newer manifest names it."""

    number: int = 0
    writer: str = ""
    written_at: str = ""
    streams: Mapping[str, Archived] = field(default_factory=dict)
    superseded: Mapping[str, float] = field(default_factory=dict)

    def of(self, stream: str) -> Archived:
        """A stream's part; an empty one when nothing of it was archived."""
        return self.streams.get(stream, Archived())

    def names(self) -> set[str]:
        """Every file that this state, or a reader of one just before it, needs."""
        return {each.name for part in self.streams.values() for each in part.segments} | set(self.superseded)

    def with_stream(self, stream: str, part: Archived) -> Manifest:
        """The same with another part for a stream."""
        return replace(self, streams={**self.streams, stream: part})


def file_name(number: int) -> str:
    """The file of a state."""
    return f"{FOLDER}manifest-{number:012d}.json"


def number_of(name: str) -> int | None:
    """The number of a manifest's file, or None for other files."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def dump(manifest: Manifest) -> bytes:
    """The file's content."""
    body = {"format": FORMAT, **asdict(manifest)}
    return json.dumps({"sha256": _digest(body), **body}, indent=1).encode() + b"\n"


def load(name: str, content: bytes) -> Manifest:
    """Reads it; raises `Corrupt`, also for a format of the future."""
    try:
        body = json.loads(content)
        digest = body.pop("sha256")
        if digest != _digest(body):
            raise Corrupt(name, "its checksum differs")
        if body.pop("format") != FORMAT:
            raise Corrupt(name, "was written by a newer leadstream")
        streams = {
            stream: Archived(part["position"], part["dropped"], tuple(Segment(**each) for each in part["segments"]))
            for stream, part in body.pop("streams").items()
        }
        return Manifest(streams=streams, **body)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Corrupt(name, "is not a manifest") from None


def _digest(body: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
