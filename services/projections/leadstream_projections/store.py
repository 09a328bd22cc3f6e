"""Turns increments into the effects that `lua/commit.lua` carries out together with the acknowledgement.

An event's increments take effect exactly once, or, if its entry is somebody else's by now, not at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from leadstream_events import keys
from leadstream_events.effects import Effect, Settlement, count, expire, set_greatest, together
from leadstream_events.redis_client import Client
from leadstream_events.runtime.delivery import Delivery
from leadstream_projections.counters import Place, Projection

FIRST_GENERATION = 1


class Store:
    """Counters of one projection in one partition, in its live generation."""

    def __init__(self, client: Client, projection: Projection, partition: int) -> None:
        self._client, self._projection, self._partition = client, projection, partition
        self._generation: int | None = None

    async def generation(self) -> int:
        """The live generation, asked once (HGET of the pointer). Raises what redis-py raises."""
        if self._generation is None:
            stored = await self._client.hget(keys.projection_pointer(self._partition), self._projection.name)
            self._generation = int(stored) if stored else FIRST_GENERATION
        return self._generation


def settlements(
    projection: Projection, partition: int, generation: int, deliveries: Sequence[Delivery]
) -> list[Settlement]:
    """One settlement per stream, with the sums of its deliveries. Pure; what the projection raises passes through."""
    # By entry id: one that stands twice in a batch (claimed again by a slow scan) would be in the sum twice.
    by_stream: dict[str, dict[str, Delivery]] = {}
    for delivery in deliveries:
        by_stream.setdefault(delivery.stream, {})[delivery.entry_id] = delivery
    return [
        together(stream, list(items), _sums(projection, partition, generation, list(items.values())))
        for stream, items in by_stream.items()
    ]


def _sums(projection: Projection, partition: int, generation: int, deliveries: Sequence[Delivery]) -> list[Effect]:
    """What the deliveries add up to: one effect per counter that they touch."""
    counts: dict[tuple[str, str], int] = {}
    greatest: dict[tuple[str, str], str] = {}
    for delivery in deliveries:
        if delivery.event is None:
            continue
        place = Place(keys.name_of(delivery.stream), delivery.entry_id)
        for part, field, by, value in projection.increments(delivery.event, place):
            if value:
                greatest[part, field] = max(value, greatest.get((part, field), ""))
            else:
                counts[part, field] = counts.get((part, field), 0) + by
    parts = dict.fromkeys(part for part, _ in (*counts, *greatest))
    key_of = {part: keys.projection(partition, projection.name, generation, part) for part in parts}
    effects = [count(key_of[part], field, by) for (part, field), by in counts.items()]
    effects += [set_greatest(key_of[part], field, value) for (part, field), value in greatest.items()]
    lifetimes = {part: projection.lifetime_s(part) for part in parts}
    return effects + [expire(key_of[part], seconds) for part, seconds in lifetimes.items() if seconds is not None]
