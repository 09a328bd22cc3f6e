"""Turns increments into the effects that `lua/commit.lua` carries out together with the acknowledgement.

An event's increments take effect exactly once, or, if its entry is somebody else's by now, not at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from leadstream_events import keys
from leadstream_events.effects import Effect, Settlement, count, expire, set_greatest
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
    """One settlement per delivery. Pure; what the projection's function raises passes through."""
    batch = _Batch(projection, partition, generation)
    return [Settlement(item.stream, item.entry_id, batch.effects(item)) for item in deliveries]


class _Batch:
    """Builds each key once a batch.

    Only the first event that touches a part in a batch renews the part's lifetime. No part is left without one: the
    first event ever counted in it was the first in its batch too, since those before it would have been counted.
    """

    def __init__(self, projection: Projection, partition: int, generation: int) -> None:
        self._projection, self._partition, self._generation = projection, partition, generation
        self._keys: dict[str, str] = {}

    def effects(self, delivery: Delivery) -> tuple[Effect, ...]:
        """The effects of one delivery."""
        if delivery.event is None:
            return ()
        place = Place(keys.name_of(delivery.stream), delivery.entry_id)
        effects: list[Effect] = []
        fresh: list[str] = []
        for part, field, by, value in self._projection.increments(delivery.event, place):
            key = self._keys.get(part)
            if key is None:
                key = self._keys[part] = keys.projection(self._partition, self._projection.name, self._generation, part)
                fresh.append(part)
            effects.append(set_greatest(key, field, value) if value else count(key, field, by))
        for part in fresh:
            lifetime_s = self._projection.lifetime_s(part)
            if lifetime_s is not None:
                effects.append(expire(self._keys[part], lifetime_s))
        return tuple(effects)
