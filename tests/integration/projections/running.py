"""Runs consumers of projections inside the test's own loop, the way the service wires them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.hooks import Hooks
from leadstream_events.runtime.policy import ConsumerPolicy
from leadstream_events.settings import Settings
from leadstream_projections.app import ProjectionApp
from leadstream_projections.counters import PROJECTIONS, Projection
from leadstream_projections.service import start_consumer


@asynccontextmanager
async def projecting(
    settings: Settings,
    *,
    name: str = "worker-a",
    policy: ConsumerPolicy | None = None,
    projections: Sequence[Projection] = PROJECTIONS,
    app: ProjectionApp | None = None,
    hooks: Callable[[str], Hooks] = Hooks,
) -> AsyncIterator[list[Consumer]]:
    """Yields running consumers, one per projection and partition; they drain at the end, and their bugs come out."""
    async with AsyncExitStack() as stack:
        used = await stack.enter_async_context(app or ProjectionApp(projections))
        consumers = [
            await start_consumer(
                stack, settings, used, each, partition, name=name, policy=policy, hooks=hooks(each.group)
            )
            for partition in range(settings.partitions)
            for each in projections
        ]
        async with asyncio.TaskGroup() as tasks:
            for each in consumers:
                tasks.create_task(each.run())
            try:
                yield consumers
            finally:
                for each in consumers:
                    each.stop()
