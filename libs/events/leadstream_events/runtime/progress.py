"""Whether a consumer gets on: when it last finished something, and since when there has been something to do."""

from __future__ import annotations

from leadstream_events.runtime.policy import ConsumerPolicy, is_stalled


class Progress:
    """Times are monotonic seconds, told by the consumer."""

    def __init__(self, policy: ConsumerPolicy, now_s: float) -> None:
        self._policy, self._made_s = policy, now_s
        self._waits_since_s: float | None = None

    def made(self, now_s: float) -> None:
        """An entry was finished, put back, or found to be somebody else's."""
        self._made_s = now_s

    def saw(self, entries: bool, now_s: float) -> None:
        """Whether entries wait to be read or are in work, seen every few seconds."""
        if not entries:
            self._waits_since_s = None
        elif self._waits_since_s is None:
            self._waits_since_s = now_s

    def stalled(self, now_s: float, held_until_s: float) -> bool:
        """True when it does not get on, a limit that holds it back aside."""
        return is_stalled(now_s, self._waits_since_s, max(self._made_s, held_until_s), self._policy)
