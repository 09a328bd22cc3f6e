"""Live updates: one poller per process, shared by everybody who looks, and asleep while nobody does.

It reads the overview every second and renders each part once for those who may see personal data and once for those
who may not. Watchers get what changed since they last looked, so a slow one skips versions and never holds up others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from leadstream_api.context import Services
from leadstream_api.dashboard.parts import regions
from leadstream_api.dashboard.state import Overview, gather
from leadstream_events import logs
from leadstream_events.subscribers import utc_now
from leadstream_events.tasks import end
from leadstream_events.views_stats import Bucket

TICK_S = 1.0
READY_EVERY = 3
MINUTES_EVERY = 3
WIDE_EVERY = 20
MOST_WATCHERS = 500
HEARTBEAT_S = 15.0
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Version:
    """One state of the overview, rendered. `parts` by whether personal data may be seen."""

    number: int
    overview: Overview
    parts: Mapping[bool, Mapping[str, str]] = field(default_factory=dict)


class Live:
    """The poller. `watch` yields versions; the first one at once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._next: asyncio.Future[Version] | None = None
        self._ticks = 0
        self.latest: Version | None = None
        self.stopped = False

    @property
    def polling(self) -> bool:
        """True while somebody looks, so that Redis is asked."""
        return self._task is not None and not self._task.done()

    @property
    def full(self) -> bool:
        """True when nobody else may watch."""
        return self._watchers >= MOST_WATCHERS

    async def watch(self) -> AsyncGenerator[Version | None, None]:
        """Yields each version as it comes, and None when nothing has for a while; ends with the process."""
        self._watchers += 1
        if not self.polling:
            self._ticks = 0
            self._task = asyncio.create_task(self._run(), name="dashboard-live")
        try:
            if self.latest is not None:
                yield self.latest
            while not self.stopped:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        yield await asyncio.shield(self._upcoming())
                except TimeoutError:
                    yield None
        finally:
            self._watchers -= 1
            if self._watchers == 0:
                task, self._task, self.latest = self._task, None, None
                await end(task)

    def stop(self) -> None:
        """Ends every watcher: a process that stops must not wait for browsers."""
        self.stopped = True
        if self._next and not self._next.done() and self.latest:
            self._next.set_result(self.latest)

    def _upcoming(self) -> asyncio.Future[Version]:
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    async def _run(self) -> None:
        while not self.stopped:
            began_s = time.monotonic()
            try:
                self._publish(await self._look())
            except Exception as error:  # a bug must not end the live view of everybody for ever
                _log.error("the live view could not be read", error=type(error).__name__)
            await asyncio.sleep(max(0.1, TICK_S - (time.monotonic() - began_s)))

    async def _look(self) -> Overview:
        before = self.latest.overview if self.latest else None
        buckets = [Bucket.MINUTE] if self._ticks % MINUTES_EVERY == 0 else []
        if self._ticks % WIDE_EVERY == 0 or (before and not before.charts):
            buckets = list(Bucket)
        ready = before.readiness if before and self._ticks % READY_EVERY and not before.cause else None
        self._ticks += 1
        return await gather(self._services, utc_now(), buckets, before=before, readiness=ready)

    def _publish(self, overview: Overview) -> None:
        number = self.latest.number + 1 if self.latest else 1
        self.latest = Version(number, overview, {pii: regions(overview, pii=pii) for pii in (True, False)})
        if self._next and not self._next.done():
            self._next.set_result(self.latest)
