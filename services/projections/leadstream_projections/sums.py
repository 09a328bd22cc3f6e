"""What events add up to in one projection: pure. The live path and a rebuild add up in the same way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from leadstream_events.envelope import Event
from leadstream_projections.counters import Place, Projection


@dataclass(slots=True)
class PartSums:
    """The sums of one part: what is added to its fields, and the greatest values of others."""

    counts: dict[str, int] = field(default_factory=dict)
    greatest: dict[str, str] = field(default_factory=dict)


def add_up(projection: Projection, placed: Iterable[tuple[Event, Place]]) -> dict[str, PartSums]:
    """Returns the sums by part of the key; what the projection raises passes through."""
    parts: dict[str, PartSums] = {}
    increments = projection.increments
    for event, place in placed:
        for part, name, by, value in increments(event, place):
            sums = parts.get(part)
            if sums is None:
                sums = parts[part] = PartSums()
            if value:
                if value > sums.greatest.get(name, ""):
                    sums.greatest[name] = value
            else:
                sums.counts[name] = sums.counts.get(name, 0) + by
    return parts
