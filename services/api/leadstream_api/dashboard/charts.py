"""Charts as geometry: from points of time to rectangles. Pure; the template writes the SVG.

Bars are stacked: sent at the bottom, then deferred, then failed. Nothing but the geometry depends on size, and the
same numbers stand in a table for whoever does not see the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from leadstream_events.views_stats import Bucket, Point, Series

WIDTH, HEIGHT = 720, 168
_GAP = 0.22
METRICS = ("sent", "deferred", "failed")


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle."""

    metric: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """One bucket: its bars, a label for people, and the whole column to point at."""

    x: float
    width: float
    label: str
    counts: tuple[int, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A horizontal line with its value."""

    y: float
    value: int


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws. `ticks` are (position in percent, text) under the axis."""

    bucket: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    totals: tuple[int, ...]
    leads: int
    peak: int
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def busy(self) -> tuple[Column, ...]:
        """The columns with something in them, newest first."""
        return tuple(column for column in reversed(self.columns) if any(column.counts))


def nice_top(peak: int) -> int:
    """The lowest of 4, 8, 10, 20, 40, 50, 80, 100, 200, ... that is not below the peak; all divide by two."""
    if peak <= 4:
        return 4
    scale = 1
    while True:
        for step in (4, 8, 10, 20):
            if step * scale >= peak:
                return step * scale
        scale *= 10


def chart(found: Series) -> Chart:
    """Returns the geometry of a series."""
    sums = [tuple(point.counts.get(metric, 0) for metric in METRICS) for point in found.points]
    peak = max((sum(counts) for counts in sums), default=0)
    top = nice_top(peak)
    pitch = WIDTH / max(1, len(sums))
    columns = tuple(
        _column(point, counts, place * pitch, pitch, top, found.bucket)
        for place, (point, counts) in enumerate(zip(found.points, sums, strict=True))
    )
    return Chart(
        bucket=found.bucket.value,
        columns=columns,
        lines=tuple(Line(HEIGHT - HEIGHT * value / top, value) for value in (0, top // 2, top)),
        ticks=_ticks(found),
        totals=tuple(sum(counts[at] for counts in sums) for at in range(len(METRICS))),
        leads=sum(point.counts.get("leads", 0) for point in found.points),
        peak=peak,
    )


def _column(point: Point, counts: tuple[int, ...], x: float, pitch: float, top: int, bucket: Bucket) -> Column:
    bars, y = [], float(HEIGHT)
    for metric, count in zip(METRICS, counts, strict=True):
        if count:
            height = max(1.5, HEIGHT * count / top)
            y -= height
            bars.append(
                Bar(metric, round(x + pitch * _GAP / 2, 2), round(y, 2), round(pitch * (1 - _GAP), 2), round(height, 2))
            )
    return Column(round(x, 2), round(pitch, 2), label(point.start, bucket), counts, tuple(bars))


def label(start: datetime, bucket: Bucket) -> str:
    """The bucket's name, in UTC."""
    return {
        Bucket.MINUTE: f"{start:%H:%M}",
        Bucket.HOUR: f"{start.day} {start:%b %H:00}",
        Bucket.DAY: f"{start.day} {start:%b}",
    }[bucket]


def _ticks(found: Series) -> tuple[tuple[float, str], ...]:
    """Five or so labels, each at the start of a round bucket, none so far right that it would be cut off."""
    count = len(found.points)
    ticks = []
    for place, point in enumerate(found.points):
        at = point.start
        round_one = {
            Bucket.MINUTE: at.minute % 15 == 0,
            Bucket.HOUR: at.hour % 12 == 0,
            Bucket.DAY: at.day in (1, 8, 15, 22),
        }[found.bucket]
        if round_one and place < count * 0.94:
            text = f"{at.day} {at:%b}" if found.bucket is Bucket.HOUR and at.hour == 0 else label(at, found.bucket)
            ticks.append((round(100 * place / count, 2), text))
    return tuple(ticks)
