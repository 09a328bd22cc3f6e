"""Says once, and not every round, what holds trimming back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from structlog.stdlib import get_logger

from leadstream_events import keys
from leadstream_events.groups import working_on
from leadstream_events.retention import Kept

logger = get_logger("leadstream.retention")


def forgotten(kept: Kept) -> bool:
    """True when a group holds it back that no service of ours works for."""
    return bool(kept.group) and kept.group != keys.ARCHIVER and kept.group not in working_on(kept.stream)


class HeldBack:
    """Remembers what was told."""

    def __init__(self, say: Callable[..., None] = logger.warning) -> None:
        self._say = say
        self._told: frozenset[tuple[str, int, str]] = frozenset()

    def tell(self, kept: Sequence[Kept]) -> None:
        """Names what is in the way when it appears; a group that nobody serves with its mend."""
        now = frozenset((each.stream, each.partition, each.group or each.blocked_by) for each in kept)
        for each in kept:
            if (each.stream, each.partition, each.group or each.blocked_by) in self._told:
                continue
            told: dict[str, object] = {
                "stream": each.stream,
                "partition": each.partition,
                "by": each.blocked_by,
                "entries": each.entries,
            }
            if forgotten(each):
                told["mend"] = f"leadstream groups remove {each.group}"
            self._say("trimming is held back", **told)
        self._told = now
