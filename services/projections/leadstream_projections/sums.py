"""What events add up to in one projection: pure. The live path and a rebuild add up in the same way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from leadstream_projections.counters import Countable, Place, Projection


@dataclass(slots=True)
class PartSums:
    """The sums of one part: what is added to its fields, and the greatest values of others."""

    counts: dict[str, int] = field(default_factory=dict)
    greatest: dict[str, str] = field(default_factory=dict)


def add_up(projection: Projection, placed: Iterable[tuple[Countable, Place]]) -> dict[str, PartSums]:
    """Returns the sums by part of the key; what the projection raises passes through."""
    increments = projection.increments
    made_by_all = [increments(event, place) for event, place in placed]
    # Many events have the very same increments: projections keep those they make often. They are added up once.
    times_made = Counter(map(id, made_by_all))
    parts: dict[str, PartSums] = {}
    for number, made in {id(made): made for made in made_by_all}.items():
        times = times_made[number]
        for part, name, by, value in made:
            sums = parts.get(part)
            if sums is None:
                sums = parts[part] = PartSums()
            if value:
                if value > sums.greatest.get(name, ""):
                    sums.greatest[name] = value
            else:
                sums.counts[name] = sums.counts.get(name, 0) + by * times
    return parts


def merge(into: dict[str, PartSums], more: Mapping[str, PartSums]) -> None:
    """Adds what a later page comes to to what earlier ones came to."""
    for part, sums in more.items():
        own = into.get(part)
        if own is None:
            into[part] = sums
            continue
        for name, by in sums.counts.items():
            own.counts[name] = own.counts.get(name, 0) + by
        for name, value in sums.greatest.items():
            if value > own.greatest.get(name, ""):
                own.greatest[name] = value
