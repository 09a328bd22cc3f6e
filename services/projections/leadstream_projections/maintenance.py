"""Periodic trimming (`RETAIN`), once at a time however many of these services run.

Whoever takes the turn trims; the others find it taken until it ends by itself. That only saves work: nothing wrong
comes of two that trim at once, since the scripts look themselves at what may go.
"""

from __future__ import annotations

from structlog.stdlib import get_logger

from leadstream_events import keys
from leadstream_events.groups import working_on
from leadstream_events.held_back import HeldBack
from leadstream_events.redis_client import Client, classify
from leadstream_events.retention import TRIMMED, Retained, interval_s, retain

logger = get_logger("leadstream.retention")


class Maintenance:
    """Trims when it is this process's turn, and says once what holds trimming back."""

    def __init__(self, client: Client, *, partitions: int, retain_s: float, name: str) -> None:
        self._client, self._partitions, self._retain_s, self._name = client, partitions, retain_s, name
        self._held_back = HeldBack()

    async def run(self) -> Retained | None:
        """One round; None when it is not this process's turn, or Redis cannot take work. Raises for bugs only."""
        try:
            turn_ms = int(interval_s(self._retain_s) * 900)
            if not await self._client.set(keys.RETENTION_TURN, self._name, nx=True, px=turn_ms):
                return None
            groups = {stream: working_on(stream) for stream in TRIMMED}
            done = await retain(self._client, self._partitions, self._retain_s, groups)
        except Exception as error:
            trouble = classify(error)
            if trouble is None:
                raise
            logger.warning("nothing could be trimmed", cause=trouble.cause.value)
            return None
        if any(done.deleted.values()):
            logger.info("trimmed", **done.deleted)
        self._held_back.tell(done.kept)
        return done
