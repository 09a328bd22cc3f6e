"""What a service answers about itself on `METRICS_LISTEN`: its metrics, whether it lives, and whether it can work.

Live: every loop turns, as the watchdog and the heartbeat file are told. Ready: it was wired, Redis takes
its work, and every consumer that has something to do gets on with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from leadstream_events.runtime.answering import Answer, Paths, answering
from leadstream_events.runtime.backlog import Backlog
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.settings import Settings

READY = Gauge("leadstream_ready", "1 while /health/ready answers 200")


@dataclass(slots=True)
class Observed:
    """A service as its health answers see it. `started`: its consumers are wired, so Redis was there."""

    consumers: Sequence[object]
    works: Callable[[], bool]
    started: bool = False
    backlog: Backlog = field(default_factory=Backlog)

    async def metrics(self) -> Answer:
        """Prometheus text."""
        READY.set(not self.causes())
        await self.backlog.refresh([each.source for each in self._consumers])
        return Answer(generate_latest(), CONTENT_TYPE_LATEST)

    async def live(self) -> Answer:
        """503 when a loop hangs; a restart is what mends that."""
        if self.works():
            return Answer.of_json({"status": "ok"})
        return Answer.of_json({"status": "stuck"}, HTTPStatus.SERVICE_UNAVAILABLE)

    async def ready(self) -> Answer:
        """503 with causes from a closed set while nothing can be worked on."""
        causes = self.causes()
        if not causes:
            return Answer.of_json({"status": "ready"})
        return Answer.of_json({"status": "unavailable", "causes": causes}, HTTPStatus.SERVICE_UNAVAILABLE)

    def causes(self) -> list[str]:
        """Why the service cannot work now; empty when it can."""
        if not self.started:
            return ["waiting for redis"]
        found = {f"redis: {cause}" for each in self.consumers if (cause := getattr(each, "trouble", None))}
        found |= {f"no progress: {each.source.group}" for each in self._consumers if each.stalled}
        return sorted(found if self.works() else found | {"stuck"})

    @property
    def _consumers(self) -> list[Consumer]:
        return [each for each in self.consumers if isinstance(each, Consumer)]

    @property
    def paths(self) -> Paths:
        """What is answered where."""
        return {"/metrics": self.metrics, "/health/live": self.live, "/health/ready": self.ready}


@contextlib.asynccontextmanager
async def observed(
    settings: Settings, consumers: Sequence[object], works: Callable[[], bool]
) -> AsyncIterator[Observed]:
    """Answers for the service inside the block, if `METRICS_LISTEN` is set. `consumers` may still grow."""
    made = Observed(consumers, works)
    if settings.metrics_listen is None:
        yield made
        return
    async with answering(settings.metrics_listen, made.paths):
        yield made
