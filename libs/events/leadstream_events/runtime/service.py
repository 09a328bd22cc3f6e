"""Wires a consumer together and runs several of them as one service process.

SIGTERM and SIGINT, as PID 1 or not, drain the consumers within the drain deadline; the exit code is 0. Whoever
supervises the process (see `notify`) hears when it is ready, and goes on hearing from it while its loops turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from structlog.stdlib import get_logger

from leadstream_events.errors import ConfigurationError
from leadstream_events.garbage import keep_what_is_loaded
from leadstream_events.ids import new_id
from leadstream_events.keys import META
from leadstream_events.notify import Notifier, beating
from leadstream_events.redis_client import Client, classify, connect
from leadstream_events.redis_mends import MENDS
from leadstream_events.runtime.batch import BatchHandler, Handle
from leadstream_events.runtime.committer import Committer, Stuck
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.delivery import Memory
from leadstream_events.runtime.handler import Handler
from leadstream_events.runtime.hooks import Hooks
from leadstream_events.runtime.observed import observed
from leadstream_events.runtime.policy import ConsumerPolicy, consumer_name
from leadstream_events.runtime.source import GroupSource, monotonic_s
from leadstream_events.settings import Settings
from leadstream_events.writer import PipelinedWriter

logger = get_logger("leadstream.service")

# A loop ticks every few seconds, also without Redis, and the consumer's own watchdog renews one that hangs for 22 s.
TICK_WITHIN_S = 60.0


def policy_of(settings: Settings, *, batch: int = 100, linger_s: float = 0.0) -> ConsumerPolicy:
    """The consumer policy that the settings ask for."""
    return ConsumerPolicy(
        lease_s=settings.lease,
        max_deliveries=settings.max_deliveries,
        batch=batch,
        linger_s=linger_s,
        drain_s=settings.drain_deadline,
        stalled_s=settings.stalled_after,
    )


def boot_name(service: str) -> str:
    """This process's consumer name; the boot id makes it one that no process had before."""
    return consumer_name(service, socket.gethostname(), new_id()[-12:])


@asynccontextmanager
async def clients(settings: Settings, policy: ConsumerPolicy) -> AsyncIterator[tuple[Client, Client]]:
    """Yields (client, blocking client). The blocking one outlasts its own BLOCK by design (redis-py issue 3138)."""
    client = connect(settings.redis, timeout_s=5.0)
    blocking = connect(settings.redis, timeout_s=policy.block_s + 5.0)
    try:
        yield client, blocking
    finally:
        for item in (client, blocking):
            with contextlib.suppress(Exception):
                await item.aclose()


@asynccontextmanager
async def consumer(
    settings: Settings,
    policy: ConsumerPolicy,
    *,
    group: str,
    partition: int,
    streams: Sequence[str],
    name: str,
    make_handler: Callable[[Client, PipelinedWriter], Handler],
    hooks: Hooks | None = None,
    stuck: Stuck | None = None,
    on_group_created: Callable[[], Awaitable[None]] | None = None,
    memory: Memory | None = None,
    gather_s: float = 0.0,
) -> AsyncIterator[Consumer]:
    """Yields a wired consumer; `make_handler` gets the Redis client, and the writer through which the
    consumer settles, and returns the handler.

    A handler with an attribute `consumer` gets the consumer set on it.
    """
    observer = hooks or Hooks(group)
    async with clients(settings, policy) as (client, blocking):
        source = GroupSource(
            client, blocking, group=group, consumer=name, partition=partition, streams=streams, policy=policy,
            memory=memory,
        )  # fmt: skip
        writer = PipelinedWriter(client, gather_s)
        committer = Committer(
            writer, group=group, consumer=name, partition=partition, policy=policy, hooks=observer, stuck=stuck
        )
        async with writer, committer:
            handler = make_handler(client, writer)
            made = Consumer(
                source, committer, handler, policy=policy, hooks=observer, on_group_created=on_group_created
            )
            handler.consumer = made  # type: ignore[attr-defined]
            yield made


@asynccontextmanager
async def batch_consumer(
    settings: Settings,
    policy: ConsumerPolicy,
    *,
    group: str,
    partition: int,
    streams: Sequence[str],
    name: str,
    make_handle: Callable[[Client], Handle],
    hooks: Hooks | None = None,
    on_group_created: Callable[[], Awaitable[None]] | None = None,
    memory: Memory | None = None,
) -> AsyncIterator[Consumer]:
    """Like `consumer`, for a batch function."""
    observer = hooks or Hooks(group)

    def make_handler(client: Client, _: PipelinedWriter) -> Handler:
        return BatchHandler(make_handle(client), group=group, policy=policy, hooks=observer)

    async with consumer(
        settings,
        policy,
        group=group,
        partition=partition,
        streams=streams,
        name=name,
        make_handler=make_handler,
        hooks=observer,
        on_group_created=on_group_created,
        memory=memory,
    ) as made:
        yield made


async def check_partitions(client: Client, partitions: int) -> None:
    """Fixes the number of partitions at the first start; raises `ConfigurationError` when it is another one now."""
    await client.hsetnx(META, "partitions", partitions)
    stored = int(await client.hget(META, "partitions"))
    if stored != partitions:
        raise ConfigurationError(
            f"LEADSTREAM_PARTITIONS is {partitions}, but this Redis was started with {stored}: "
            f"set it back to {stored} (leads are placed by it)"
        )


class Runnable(Protocol):
    """What a service process runs beside others: a consumer, or whatever must end with it."""

    async def run(self) -> None:
        """Runs until stopped. What it raises ends the process."""

    def stop(self) -> None:
        """Asks `run` to finish what was begun and return."""


Build = Callable[[AsyncExitStack], Awaitable[Sequence[Runnable]]]


async def run_service(service: str, settings: Settings, build: Build) -> None:
    """Runs the consumers that `build` makes until SIGTERM or SIGINT, then drains them. A bug passes through.

    Redis need not be there yet; a signal ends the waiting too.
    """
    notifier = Notifier.from_environment(settings.heartbeat_file)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    consumers: list[Runnable] = []

    def works() -> bool:
        return stopping.is_set() or ticking(consumers, monotonic_s())

    async with beating(notifier, works), observed(settings, consumers, works) as seen:
        waited = await _wait_for_redis(settings, stopping)
        if stopping.is_set():
            return
        async with AsyncExitStack() as stack:
            consumers += await build(stack)
            for item in consumers if waited else ():
                if isinstance(item, Consumer):
                    item.redis_was_away()
            keep_what_is_loaded()
            logger.info("ready", service=service, consumers=len(consumers))
            notifier.ready()
            seen.started = True
            async with asyncio.TaskGroup() as tasks:
                for item in consumers:
                    tasks.create_task(item.run())
                tasks.create_task(_stop_on(stopping, consumers, notifier))
    logger.info("stopped", service=service)


def ticking(items: Sequence[Runnable], now: float) -> bool:
    """True while every loop that tells its ticks turns; nothing is promised about entries that a handler holds.

    A consumer does, and whatever else has `last_tick_s` (monotonic).
    """
    return all(now - getattr(item, "last_tick_s", now) < TICK_WITHIN_S for item in items)


async def _stop_on(stopping: asyncio.Event, consumers: Sequence[Runnable], notifier: Notifier) -> None:
    await stopping.wait()
    notifier.stopping()
    for item in consumers:
        item.stop()


async def _wait_for_redis(settings: Settings, stopping: asyncio.Event) -> bool:
    """Waits until Redis takes a write and the partitions fit, or until stopping: start order must not matter.

    True when Redis was not there at first.
    """
    client = connect(settings.redis, timeout_s=5.0)
    said = False
    try:
        while not stopping.is_set():
            try:
                await check_partitions(client, settings.partitions)
                return said
            except Exception as error:
                cause = classify(error)
                if cause is None:
                    raise
                if not said:
                    logger.warning("waiting for redis", cause=cause.cause.value, mend=MENDS.get(cause.cause))
                said = True
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), 0.5)
        return said
    finally:
        await client.aclose()
