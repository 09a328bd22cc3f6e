"""Periodic trimming (`RETAIN`), once at a time however many of these services run.

Whoever takes the turn trims; the others find it taken until it ends by itself. That only saves work: nothing wrong
comes of two that trim at once, since the scripts look themselves at what may go.
"""

from __future__ import annotations

from structlog.stdlib import get_logger

from leadstream_events import keys
from leadstream_events.redis_client import Client, classify
from leadstream_events.retention import Kept, Retained, retain
from leadstream_projections.counters import PROJECTIONS

logger = get_logger("leadstream.retention")

_OWN = {keys.LEADS: keys.FANOUT, keys.EMAILS: keys.MAILER, keys.OUTCOMES: keys.QUOTA}
_SHORTEST_S, _LONGEST_S = 0.5, 60.0


def groups_of(stream: str) -> tuple[str, ...]:
    """Every group that works on a stream, also those that never started."""
    return (_OWN[stream], *(item.group for item in PROJECTIONS if stream in item.streams))


def interval_s(retain_s: float) -> float:
    """Seconds between two rounds: a tenth of what is kept, within bounds."""
    return min(max(retain_s / 10, _SHORTEST_S), _LONGEST_S)


class Maintenance:
    """Trims when it is this process's turn, and says once what holds trimming back."""

    def __init__(self, client: Client, *, partitions: int, retain_s: float, name: str) -> None:
        self._client, self._partitions, self._retain_s, self._name = client, partitions, retain_s, name
        self._told: frozenset[tuple[str, int, str]] = frozenset()

    async def run(self) -> Retained | None:
        """One round; None when it is not this process's turn, or Redis cannot take work. Raises for bugs only."""
        try:
            turn_ms = int(interval_s(self._retain_s) * 900)
            if not await self._client.set(keys.RETENTION_TURN, self._name, nx=True, px=turn_ms):
                return None
            groups = {stream: groups_of(stream) for stream in _OWN}
            done = await retain(self._client, self._partitions, self._retain_s, groups)
        except Exception as error:
            trouble = classify(error)
            if trouble is None:
                raise
            logger.warning("nothing could be trimmed", cause=trouble.cause.value)
            return None
        if any(done.deleted.values()):
            logger.info("trimmed", **done.deleted)
        self._tell(done.kept)
        return done

    def _tell(self, kept: tuple[Kept, ...]) -> None:
        """Names what is in the way when it appears, and not every round."""
        now = frozenset((each.stream, each.partition, each.group or each.blocked_by) for each in kept)
        for each in kept:
            if (each.stream, each.partition, each.group or each.blocked_by) in self._told:
                continue
            told = {"stream": each.stream, "partition": each.partition, "by": each.blocked_by, "entries": each.entries}
            if each.group and each.group not in groups_of(each.stream):
                told["mend"] = f"leadstream groups remove {each.group}"
            logger.warning("trimming is held back", **told)
        self._told = now
