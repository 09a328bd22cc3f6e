"""The projections service: per projection and partition one consumer, and the Faust app that their batches go through.

Counters are exact under redelivery and SIGKILL: an event's increments and its acknowledgement are one commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from structlog.stdlib import get_logger

from leadstream_events.effects import Settlement
from leadstream_events.redis_client import Client, connect, redis_may_refuse
from leadstream_events.retention import interval_s
from leadstream_events.runtime.batch import Handle
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.delivery import Delivery, Memory
from leadstream_events.runtime.hooks import Hooks
from leadstream_events.runtime.policy import ConsumerPolicy
from leadstream_events.runtime.service import Runnable, batch_consumer, boot_name, policy_of, run_service
from leadstream_events.settings import Settings
from leadstream_projections.app import Batch, ProjectionApp
from leadstream_projections.auto_rebuild import INTERVAL_S as REBUILD_S
from leadstream_projections.auto_rebuild import AutoRebuild
from leadstream_projections.consumer_cleanup import INTERVAL_S as CLEANUP_S
from leadstream_projections.consumer_cleanup import ConsumerCleanup
from leadstream_projections.counters import PROJECTIONS, Projection
from leadstream_projections.maintenance import Maintenance
from leadstream_projections.rebuild_state import note_lost_group, note_version
from leadstream_projections.store import Store

logger = get_logger("leadstream.projections")

SERVICE = "projections"
# Of each of three streams: what one group reads at once must fit into the memory of all groups (`Memory`), with room.
BATCH = 200
# Counters may lag this much: a small batch costs nearly as much as a large one.
LINGER_S = 0.2


class AppGuard:
    """Ends the process when an agent or a timer has brought the Faust app down: a supervisor starts it afresh."""

    def __init__(self, app: ProjectionApp) -> None:
        self._app = app
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Returns once stopped; raises RuntimeError, with its cause, when the app crashed."""
        await self._app.wait_for_stopped(self._stopping.wait())
        if self._app.crashed:
            raise RuntimeError("the Faust app crashed") from self._app.crash_reason

    def stop(self) -> None:
        """Lets `run` return. The app itself stops with the exit stack, after the consumers have drained."""
        self._stopping.set()


def make_handle(app: ProjectionApp, projection: Projection, store: Store, partition: int) -> Handle:
    """The batch function of one consumer: hands each batch to the projection's agent and awaits its settlements."""

    async def handle(deliveries: Sequence[Delivery]) -> Sequence[Settlement]:
        batch = Batch(partition, await store.generation(), deliveries)
        return await app.project(projection, batch)

    return handle


async def start_consumer(
    stack: AsyncExitStack,
    settings: Settings,
    app: ProjectionApp,
    projection: Projection,
    partition: int,
    *,
    name: str,
    policy: ConsumerPolicy | None = None,
    hooks: Hooks | None = None,
    memory: Memory | None = None,
) -> Consumer:
    """Wires the consumer of one projection in one partition; it stops with the stack."""

    bound: list[Client] = []

    def bind(client: Client) -> Handle:
        bound.append(client)
        return make_handle(app, projection, Store(client, projection, partition), partition)

    async def look_again() -> None:
        if await note_lost_group(bound[0], projection, partition):
            mend = f"leadstream projections rebuild {projection.name}"
            logger.warning("group was destroyed while it worked", projection=projection.name, mend=mend)

    return await stack.enter_async_context(
        batch_consumer(
            settings,
            policy or policy_of(settings, batch=BATCH, linger_s=LINGER_S),
            group=projection.group,
            partition=partition,
            streams=projection.streams,
            name=name,
            make_handle=bind,
            hooks=hooks,
            memory=memory,
            on_group_created=look_again,
        )
    )


async def note_versions(settings: Settings, projections: Sequence[Projection]) -> list[str]:
    """Says which projections count by another definition than their counters so far, and returns their names.

    Redis being away is no reason not to start: `projections status` says it too.
    """
    client = connect(settings.redis, timeout_s=5.0)
    changed = []
    try:
        with redis_may_refuse():
            for projection in projections:
                found = {await note_version(client, projection, number) for number in range(settings.partitions)}
                if found != {projection.version}:
                    changed.append(projection.name)
                    mend = f"leadstream projections rebuild {projection.name}"
                    logger.warning("projection has another definition now", projection=projection.name, mend=mend)
    finally:
        await client.aclose()
    return changed


async def schedule(
    stack: AsyncExitStack, settings: Settings, app: ProjectionApp, projections: Sequence[Projection], name: str
) -> None:
    """Gives the app its periodic work; its connection closes with the stack, after the app has stopped."""
    client = connect(settings.redis, timeout_s=5.0)
    stack.push_async_callback(client.aclose)
    dead_after_s = policy_of(settings).forget_consumers_after_s
    cleanup = ConsumerCleanup(client, partitions=settings.partitions, dead_after_s=dead_after_s, name=name)
    _every(app, CLEANUP_S, cleanup.run)
    if settings.retain is not None and settings.archive_url is None:  # else the archiver trims
        retain_s = settings.retain
        maintenance = Maintenance(client, partitions=settings.partitions, retain_s=retain_s, name=name)
        _every(app, interval_s(retain_s), maintenance.run)
    if settings.projections_auto_rebuild:
        _every(app, REBUILD_S, AutoRebuild(client, settings, projections, name).run)


def _every(app: ProjectionApp, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    async def act() -> None:
        await work()

    app.timer(interval=seconds)(act)


async def run(settings: Settings, projections: Sequence[Projection] = PROJECTIONS) -> None:
    """Runs the service until SIGTERM or SIGINT; needs no Redis to start. A crash of the Faust app passes through."""

    for library in (
        "mode",
        "faust",
        "leadstream_projections.app",
    ):  # they report each of their parts as it starts and stops
        logging.getLogger(library).setLevel(logging.WARNING)

    async def build(stack: AsyncExitStack) -> list[Runnable]:
        await note_versions(settings, projections)
        name = boot_name(SERVICE)
        made = ProjectionApp(projections)
        await schedule(stack, settings, made, projections, name)
        app = await stack.enter_async_context(made)
        memories = [Memory() for _ in range(settings.partitions)]
        consumers = [
            await start_consumer(stack, settings, app, projection, partition, name=name, memory=memories[partition])
            for partition in range(settings.partitions)
            for projection in projections
        ]
        return [AppGuard(app), *consumers]

    await run_service(SERVICE, settings, build)
