"""The archiver service: looks for new dead letters every second, and over every stream in a tenth of `RETAIN`.

Several may be up: one works at a time, and when it ends another goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack

from structlog.stdlib import get_logger

from leadstream_archive.archive import Archive
from leadstream_archive.errors import Corrupt, LostTurn, Unreachable
from leadstream_archive.opening import open_archive
from leadstream_archiver import metrics, turn
from leadstream_archiver.memory import read_load
from leadstream_archiver.rounds import Done, Rounds
from leadstream_events.errors import ConfigurationError
from leadstream_events.held_back import HeldBack
from leadstream_events.memory_budget import estimate
from leadstream_events.redis_client import Client, classify, connect
from leadstream_events.retention import interval_s
from leadstream_events.runtime.service import Runnable, boot_name, run_service
from leadstream_events.settings import Settings

logger = get_logger("leadstream.archiver")

SERVICE = "archiver"
LOOK_EVERY_S = 1.0
_SWEEP_EVERY_S = 600.0


class Archiver:
    """Does its rounds until it is stopped; trouble ends a round and not the service."""

    def __init__(self, client: Client, archive: Archive, settings: Settings, name: str) -> None:
        self._client, self._settings, self._name = client, settings, name
        self._rounds = Rounds(
            client,
            archive,
            partitions=settings.partitions,
            retain_s=settings.retain,
            keep_s=settings.archive_keep,
            name=name,
            alive=self._tick,
        )
        self._held_back = HeldBack()
        self._stopping = asyncio.Event()
        self._whole_at = self._sweep_at = 0.0
        self._trouble = ""
        self.last_tick_s = time.monotonic()

    def _tick(self) -> None:
        self.last_tick_s = time.monotonic()

    def stop(self) -> None:
        """Lets `run` return after the round at hand."""
        self._stopping.set()

    async def run(self) -> None:
        """Runs until stopped. A bug passes through; what Redis, the archive or its place refuse is tried again."""
        while not self._stopping.is_set():
            self._tick()
            more = await self._guarded()
            pause_s = 0.0 if more else min(LOOK_EVERY_S, interval_s(self._settings.retain))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
        with contextlib.suppress(Exception):
            await turn.give_back(self._client, self._name)

    async def _guarded(self) -> bool:
        try:
            more = await self._round()
        except (LostTurn, Unreachable, Corrupt) as error:
            self._tell(type(error).__name__, str(error))
            return False
        except Exception as error:
            trouble = classify(error)
            if trouble is None:
                raise
            self._tell(trouble.cause.value, "redis cannot take work")
            return False
        if self._trouble:
            logger.info("archiving goes on")
        self._trouble = ""
        return more

    def _tell(self, cause: str, detail: str) -> None:
        metrics.FAILED.labels(cause).inc()
        if self._trouble != cause:
            logger.warning("nothing could be archived", cause=cause, detail=detail)
        self._trouble = cause

    async def _round(self) -> bool:
        """One look; True when there is more to do at once."""
        if not await turn.take(self._client, self._name):
            return False
        now = time.monotonic()
        if now < self._whole_at:
            self._count(await self._rounds.dead_letters())
            return False
        done = await self._rounds.everything()
        self._count(done)
        self._count(await self._rounds.dead_letters())
        self._held_back.tell(done.kept)
        metrics.observe_kept(done.kept)
        metrics.observe_archive(self._rounds.archive.manifest)
        load = await read_load(self._client, self._settings.partitions, self._settings.retain)
        metrics.observe_memory(load, estimate(load))
        if not done.more:
            self._whole_at = now + interval_s(self._settings.retain)
        if now >= self._sweep_at:
            await self._rounds.writer.sweep()
            self._sweep_at = now + _SWEEP_EVERY_S
        return done.more

    def _count(self, done: Done) -> None:
        for key, count in done.archived.items():
            metrics.ARCHIVED.labels(metrics.short(key)).inc(count)
        for stream, count in done.trimmed.items():
            metrics.TRIMMED.labels(stream).inc(count)
        if done.archived or done.trimmed or done.dropped:
            archived = sum(done.archived.values())
            logger.info("archived", entries=archived, trimmed=sum(done.trimmed.values()), dropped=done.dropped)


async def run(settings: Settings) -> None:
    """Runs the service until SIGTERM or SIGINT. Raises `ConfigurationError` without an `ARCHIVE_URL`."""
    archive = open_archive(settings)
    if archive is None:
        raise ConfigurationError("LEADSTREAM_ARCHIVE_URL: say where the archive is, such as ./data/archive")

    async def build(stack: AsyncExitStack) -> list[Runnable]:
        client = connect(settings.redis, timeout_s=10.0)
        stack.push_async_callback(client.aclose)
        return [Archiver(client, archive, settings, boot_name(SERVICE))]

    await run_service(SERVICE, settings, build)
