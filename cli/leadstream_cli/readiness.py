"""How a service tells its supervisor that it runs: one byte on a pipe that it inherited.

What Redis shows is not enough: before version 7.2 a consumer that waits for its first entry is not listed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.types import EventDict

VARIABLE = "_LEADSTREAM_READY_FD"
READY_EVENT = "ready"  # what `leadstream_events.runtime.service.run_service` logs once its consumers are wired


class TellOnce:
    """A log processor that passes the first `ready` on to the supervisor, and every line unchanged."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, logger: object, method: str, line: EventDict) -> EventDict:
        if self._descriptor >= 0 and line.get("event") == READY_EVENT:
            try:
                os.write(self._descriptor, b"1")
                os.close(self._descriptor)
            except OSError:  # the supervisor is gone, and so will we be
                pass
            self._descriptor = -1
        return line


def tell_supervisor() -> None:
    """Call it after the set-up of logs; does nothing without a supervisor."""
    descriptor = os.environ.pop(VARIABLE, "")
    if descriptor.isdigit():
        import structlog

        structlog.configure(processors=[TellOnce(int(descriptor)), *structlog.get_config()["processors"]])


class ReadyPipe:
    """The supervisor's end: `write_end` goes to the child; `told()` is true once the child has spoken."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._told = False

    def told(self) -> bool:
        """True once the child said that it is ready."""
        if not self._told:
            try:
                self._told = os.read(self._read_end, 1) == b"1"
            except BlockingIOError:
                return False
        return self._told

    def handed_over(self) -> None:
        """Call it once the child was started: our copy of its end is closed."""
        os.close(self.write_end)

    def close(self) -> None:
        """Gives the pipe up."""
        os.close(self._read_end)
