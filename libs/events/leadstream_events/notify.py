"""Tells whatever runs this process that it is ready, alive or stopping: systemd by datagram, a container by a file.

Speaks the protocol of sd_notify(3): NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID. The setting `HEARTBEAT_FILE` names a
file whose age a container's health check looks at. Without either nothing is done. Telling never fails and
never waits: a lost word costs a restart by the supervisor at worst.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from structlog.stdlib import get_logger

from leadstream_events.errors import ConfigurationError
from leadstream_events.tasks import end

BEAT_EVERY_S = 5.0

logger = get_logger("leadstream.notify")


def beat_every_s(watchdog_usec: str | None, watchdog_pid: str | None, pid: int) -> float:
    """Seconds between two beats: 5, or half of what systemd's watchdog of this very process allows, if that is less."""
    ours = watchdog_pid is None or watchdog_pid == str(pid)
    if watchdog_usec is None or not watchdog_usec.isdecimal() or int(watchdog_usec) == 0 or not ours:
        return BEAT_EVERY_S
    return min(BEAT_EVERY_S, int(watchdog_usec) / 2_000_000)


@dataclass(frozen=True, slots=True)
class Notifier:
    """The words that a supervisor understands. `every_s`: how often it wants to hear `alive`."""

    address: str | None = None
    heartbeat: Path | None = None
    every_s: float = BEAT_EVERY_S

    @classmethod
    def from_environment(cls, heartbeat: Path | None, environ: Mapping[str, str] = os.environ) -> Notifier:
        """Raises `ConfigurationError` when the heartbeat file cannot be written."""
        every_s = beat_every_s(environ.get("WATCHDOG_USEC"), environ.get("WATCHDOG_PID"), os.getpid())
        made = cls(environ.get("NOTIFY_SOCKET") or None, heartbeat, every_s)
        try:
            made.beat()
        except OSError as error:
            raise ConfigurationError(
                f"LEADSTREAM_HEARTBEAT_FILE: {heartbeat} cannot be written: {error.strerror}"
            ) from None
        return made

    def ready(self) -> None:
        """The service works from now on."""
        self._say("READY=1")

    def stopping(self) -> None:
        """The service drains and will end."""
        self._say("STOPPING=1")

    def alive(self) -> None:
        """Holds the watchdog off, and makes the heartbeat file new."""
        self._say("WATCHDOG=1")
        with contextlib.suppress(OSError):
            self.beat()

    def beat(self) -> None:
        """Makes the heartbeat file new; raises OSError."""
        if self.heartbeat is not None:
            self.heartbeat.touch()

    def _say(self, word: str) -> None:
        if self.address is None:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(address)
            sender.send(word.encode())


@contextlib.asynccontextmanager
async def beating(notifier: Notifier, works: Callable[[], bool]) -> AsyncIterator[None]:
    """Says `alive` again and again inside the block, as long as `works()` is true and the loop turns."""
    task = asyncio.create_task(_beat_forever(notifier, works), name="heartbeat")
    try:
        yield
    finally:
        await end(task)


async def _beat_forever(notifier: Notifier, works: Callable[[], bool]) -> None:
    said = False
    while True:
        if works():
            notifier.alive()
            said = False
        elif not said:
            logger.error("no longer working; the supervisor is told nothing any more")
            said = True
        await asyncio.sleep(notifier.every_s)
