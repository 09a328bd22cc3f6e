"""Counts projections anew by itself when their definition has changed (`PROJECTIONS_AUTO_REBUILD`).

Whichever process takes the turn does it, beside its other work; one that stops or dies leaves it to the next, which
goes on where it was. Two at once would not harm: the scripts let only one of them fill a generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from structlog.stdlib import get_logger

from leadstream_archive.history import History
from leadstream_archive.opening import open_archive
from leadstream_events import keys, refused_rounds
from leadstream_events.errors import Conflict, Permanent
from leadstream_events.redis_client import Client
from leadstream_events.settings import Settings
from leadstream_events.tasks import end
from leadstream_projections.counters import Projection
from leadstream_projections.rebuild import Rebuilt, rebuild
from leadstream_projections.rebuild_state import read_generations

logger = get_logger("leadstream.rebuild")

INTERVAL_S = 10.0
_TURN = "rebuild"
_TURN_S = 30.0


class AutoRebuild:
    """Looks again and again; what was refused once is told once and not tried again by this process."""

    def __init__(self, client: Client, settings: Settings, projections: Sequence[Projection], name: str) -> None:
        self._client, self._settings, self._projections, self._name = client, settings, projections, name
        self._refused: set[str] = set()

    async def run(self) -> list[Rebuilt]:
        """One round: what was rebuilt. Raises for bugs only."""
        try:
            changed = [each for each in self._projections if await self._has_changed(each)]
            if not changed:
                return []
            turn = keys.shared_turn(_TURN)
            if not await self._client.set(turn, self._name, nx=True, px=int(_TURN_S * 1000)):
                return []
            async with self._keeping(turn):
                return [done for each in changed for done in await self._rebuild(each)]
        except Exception as error:
            refused_rounds.tolerate(error, "rebuilding changed projections")
            return []

    async def _has_changed(self, projection: Projection) -> bool:
        if projection.name in self._refused:
            return False
        numbers = range(self._settings.partitions)
        found = [await read_generations(self._client, projection, number) for number in numbers]
        return any(each.needs_rebuild(projection) for each in found)

    async def _rebuild(self, projection: Projection) -> list[Rebuilt]:
        logger.info("counting a changed projection anew", projection=projection.name, version=projection.version)
        history = History(self._client, open_archive(self._settings))
        try:
            done = await rebuild(self._client, [projection], self._settings.partitions, history=history)
        except (Conflict, Permanent) as error:
            self._refused.add(projection.name)
            mend = f"leadstream projections rebuild {projection.name}"
            logger.warning("projection was not counted anew", projection=projection.name, why=str(error), mend=mend)
            return []
        logger.info("projection counted anew", projection=projection.name, entries=sum(each.counted for each in done))
        return done

    @asynccontextmanager
    async def _keeping(self, turn: str) -> AsyncIterator[None]:
        """Renews the turn, and gives it back. One that ended all the same harms nobody."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(_TURN_S / 3)
                await self._client.pexpire(turn, int(_TURN_S * 1000))

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            await end(task)
            await self._client.delete(turn)
