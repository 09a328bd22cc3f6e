"""What the parent knows of one child, and what is to be done about it. Pure: every decision takes `now` (monotonic)."""

from __future__ import annotations

from dataclasses import dataclass

from leadstream_cli.restarts import backoff_s, failures_after
from leadstream_cli.serving.children import Child


@dataclass(slots=True)
class Kept:
    """A child and its life so far. `pid` None: it does not run, and is due to start at `due_s`."""

    child: Child
    pid: int | None = None
    ready: bool = False
    due_s: float = 0.0
    _failures: int = 0
    _started_s: float = 0.0
    _heard_s: float = 0.0

    def started(self, pid: int, now: float) -> None:
        """It runs from now on."""
        self.pid, self.ready = pid, False
        self._started_s = self._heard_s = now

    def heard(self, words: str, now: float) -> None:
        """It said something (sd_notify(3)); any word is a sign of life."""
        self._heard_s = now
        self.ready = self.ready or "READY=1" in words.split("\n")

    def ended(self, now: float) -> float:
        """It ended by itself; returns the seconds after which it is to start again."""
        self._failures = failures_after(self._failures, now - self._started_s)
        self.pid, self.ready = None, False
        pause_s = backoff_s(self._failures)
        self.due_s = now + pause_s
        return pause_s

    def not_started(self, now: float) -> float:
        """It could not be started; returns the seconds after which to try again."""
        self._started_s = now
        return self.ended(now)

    def is_due(self, now: float) -> bool:
        """True when it is to be started now."""
        return self.pid is None and now >= self.due_s

    def is_silent(self, now: float, silent_s: float) -> bool:
        """True when it runs and has said nothing for so long: its loops no longer turn."""
        return self.pid is not None and now - self._heard_s > silent_s

    def forgive(self, now: float) -> None:
        """The parent was away itself (stopped, frozen): silence until now is nobody's fault."""
        self._heard_s = now
