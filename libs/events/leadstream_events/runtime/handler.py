"""What a service is to the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from leadstream_events.runtime.delivery import Delivery


class Handler(Protocol):
    """What a service does with deliveries."""

    def room(self) -> int:
        """How many more deliveries it can take now; 0 stops the reading."""

    async def wait_for_room(self) -> None:
        """Returns when `room()` is above 0 again. May return early."""

    def take(self, deliveries: Sequence[Delivery]) -> None:
        """Takes deliveries over. Must return at once; each one is settled later, exactly once."""

    async def drain(self) -> Sequence[Delivery]:
        """Finishes what was begun; returns what was not, to be released. May be cancelled at the deadline."""
