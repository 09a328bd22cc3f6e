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
from leadstream_projections.sums import add_up

FIRST_GENERATION = 1


class Store:
    """Counters of one projection in one partition, in its live generation."""

    def __init__(self, client: Client, projection: Projection, partition: int) -> None:
        self._client, self._projection, self._partition = client, projection, partition

    async def generation(self) -> int:
        """The live generation (HGET of the pointer). Raises what redis-py raises.

        Must be asked after a batch was read, for each batch: a rebuild that swaps generations finishes what was
        delivered before, so a batch either belongs to this generation or is not ours any more (`rebuild_swap.lua`).
        """
        stored = await self._client.hget(keys.projection_pointer(self._partition), self._projection.name)
        return int(stored) if stored else FIRST_GENERATION


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
    placed = [
        (item.event, Place(keys.name_of(item.stream), item.entry_id)) for item in deliveries if item.event is not None
    ]
    effects: list[Effect] = []
    for part, sums in add_up(projection, placed).items():
        key = keys.projection(partition, projection.name, generation, part)
        effects += [count(key, field, by) for field, by in sums.counts.items()]
        effects += [set_greatest(key, field, value) for field, value in sums.greatest.items()]
        lifetime_s = projection.lifetime_s(part)
        if lifetime_s is not None:
            effects.append(expire(key, lifetime_s))
    return effects
