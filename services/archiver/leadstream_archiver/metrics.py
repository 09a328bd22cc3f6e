"""Every metric name of the archiver."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Counter, Gauge

from leadstream_archive.errors import Corrupt, LostTurn, Unreachable
from leadstream_archive.lines import place_of
from leadstream_archive.manifest import Manifest
from leadstream_events.errors import RedisCause
from leadstream_events.memory_budget import Budget, Load
from leadstream_events.retention import Kept

ARCHIVED = Counter("leadstream_archived_entries_total", "Entries written to the archive", ["stream"])
TRIMMED = Counter("leadstream_trimmed_entries_total", "Entries deleted from the streams after that", ["stream"])
FAILED = Counter("leadstream_archive_failures_total", "Rounds that ended early", ["cause"])
SEGMENTS = Gauge("leadstream_archive_segments", "Files of entries in the archive")
STORED_BYTES = Gauge("leadstream_archive_bytes", "Bytes of the archive's segments")
RAW_BYTES = Gauge("leadstream_archive_raw_bytes", "Bytes of their lines before compression")
HELD_BACK = Gauge(
    "leadstream_trim_held_back_entries",
    "Length of a stream that cannot be trimmed as RETAIN asks, and which group keeps it so",
    ["stream", "partition", "group"],
)
MEMORY_USED = Gauge("leadstream_redis_memory_used_bytes", "used_memory of the server")
MEMORY_LIMIT = Gauge("leadstream_redis_memory_limit_bytes", "maxmemory, or the machine's memory")
ENTRY_BYTES = Gauge("leadstream_redis_bytes_per_entry", "Memory used, shared among the entries that are there")
LASTS = Gauge("leadstream_redis_memory_lasts_seconds", "Until the limit at the present rate; +Inf: it does not grow")

# Until it is measured, and in an archiver whose turn it never is: 0 would say that Redis is full.
LASTS.set(float("inf"))
for known in (*RedisCause, *(error.__name__ for error in (LostTurn, Unreachable, Corrupt))):
    FAILED.labels(known)  # a series that begins at 1 shows Prometheus no increase


def observe_archive(manifest: Manifest) -> None:
    """The size of the archive."""
    segments = [segment for part in manifest.streams.values() for segment in part.segments]
    SEGMENTS.set(len(segments))
    STORED_BYTES.set(sum(segment.bytes for segment in segments))
    RAW_BYTES.set(sum(segment.raw_bytes for segment in segments))


def observe_kept(kept: Sequence[Kept]) -> None:
    """What holds trimming back."""
    HELD_BACK.clear()
    for each in kept:
        HELD_BACK.labels(each.stream, str(each.partition), each.group).set(each.entries)


def observe_memory(load: Load, budget: Budget) -> None:
    """How long the memory lasts."""
    MEMORY_USED.set(load.used)
    MEMORY_LIMIT.set(load.limit)
    ENTRY_BYTES.set(budget.bytes_per_entry)
    LASTS.set(float("inf") if budget.lasts_s is None else budget.lasts_s)


def short(stream_key: str) -> str:
    """A stream's label."""
    return place_of(stream_key)[0]
