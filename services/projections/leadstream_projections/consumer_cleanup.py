"""Removes consumers that died long ago, in every group of leadstream's own (XGROUP DELCONSUMER through `retire.lua`).

Workers do so in their own group as they go; this is for groups and partitions in which nobody lives any more. What is
pending for a dead consumer is for the living ones of its group to claim first: DELCONSUMER would drop it, and the
script looks in the step that removes. A consumer that was thought dead and is not makes itself anew with its next read.
"""

from __future__ import annotations

from dataclasses import dataclass

from structlog.stdlib import get_logger

from leadstream_events import keys, refused_rounds, scripts
from leadstream_events.groups import working_on
from leadstream_events.redis_client import Client
from leadstream_events.retention import TRIMMED

logger = get_logger("leadstream.consumers")

INTERVAL_S = 300.0
_TURN = "consumers"


@dataclass(frozen=True, slots=True)
class Cleaned:
    """How many were removed, and how many are dead but still own entries."""

    removed: int
    owning: int


class ConsumerCleanup:
    """One round a turn, whichever process takes it. `dead_after_s`: silence after which a consumer is dead."""

    def __init__(self, client: Client, *, partitions: int, dead_after_s: float, name: str) -> None:
        self._client, self._partitions, self._dead_after_s, self._name = client, partitions, dead_after_s, name

    async def run(self) -> Cleaned | None:
        """One round; None when it is not this process's turn, or Redis cannot take work. Raises for bugs only."""
        try:
            turn = keys.shared_turn(_TURN)
            if not await self._client.set(turn, self._name, nx=True, px=int(INTERVAL_S * 900)):
                return None
            found = await clean_up(self._client, self._partitions, self._dead_after_s)
        except Exception as error:
            refused_rounds.tolerate(error, "removing dead consumers")
            return None
        if found.removed or found.owning:
            logger.info("dead consumers", removed=found.removed, still_owning_entries=found.owning)
        return found


async def clean_up(client: Client, partitions: int, dead_after_s: float) -> Cleaned:
    """Looks at every stream of every partition. Redis errors pass through; what was removed stays removed."""
    removed = owning = 0
    for partition in range(partitions):
        for name in TRIMMED:
            stream = keys.stream(partition, name)
            groups = await client.xinfo_groups(stream) if await client.exists(stream) else []
            there = {item["name"].decode() for item in groups}
            for group in there.intersection(working_on(name)):
                for consumer in await _silent(client, stream, group, dead_after_s):
                    gone = int(await scripts.run(client, scripts.RETIRE, [stream], [group, consumer]))
                    removed, owning = removed + gone, owning + 1 - gone
    return Cleaned(removed, owning)


async def _silent(client: Client, stream: str, group: str, dead_after_s: float) -> list[str]:
    found = await client.xinfo_consumers(stream, group)
    names = [item["name"].decode() for item in found if item["idle"] > dead_after_s * 1000]
    return [name for name in names if name != keys.PARKED]
