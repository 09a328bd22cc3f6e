"""A consumer in this process with a handler that records, and hooks that can be awaited."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from leadstream_events import keys
from leadstream_events.effects import Settlement, count
from leadstream_events.redis_client import Client
from leadstream_events.runtime.batch import Handle
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.runtime.hooks import Hooks
from leadstream_events.runtime.policy import ConsumerPolicy
from leadstream_events.runtime.service import batch_consumer
from leadstream_events.settings import Settings
from tests.support.waiting import DEADLINE_S

GROUP = "recorder"
HANDLED = "leadstream:{0}:handled"
FAST = ConsumerPolicy(lease_s=1.0, block_s=0.5, drain_s=5.0, backoff_min_s=0.02, backoff_max_s=0.2)
LONG_LEASE = replace(FAST, lease_s=60.0)


class RecordingHooks(Hooks):
    """Counts what happens; `until` awaits a condition on it."""

    def __init__(self, group: str = GROUP) -> None:
        super().__init__(group)
        self.counts: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def note(self, what: str, by: int = 1) -> None:
        """Counts something and wakes whoever waits."""
        self.counts[what] += by
        self._changed.set()

    async def until(self, condition: Callable[[], object], within_s: float = DEADLINE_S) -> None:
        """Returns once the condition holds; looks again whenever something happened."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def read(self, how: str, count: int) -> None:
        super().read(how, count)
        self.note(f"read:{how}", count)

    def settled(self, verb: str, count: int) -> None:
        super().settled(verb, count)
        self.note(f"settled:{verb}", count)

    def lost(self, count: int) -> None:
        super().lost(count)
        self.note("lost", count)

    def dead(self, cause: str) -> None:
        super().dead(cause)
        self.note(f"dead:{cause}")

    def trouble(self, cause: str) -> None:
        super().trouble(cause)
        self.note(f"trouble:{cause}")

    def recovered(self) -> None:
        super().recovered()
        self.note("recovered")

    def restarted(self) -> None:
        super().restarted()
        self.note("restarted")


@dataclass
class Recorder:
    """A batch function that records every delivery and counts it in Redis by an effect of its own."""

    hooks: RecordingHooks
    handled: list[str] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    fail: Callable[[Delivery], Exception | None] = lambda _: None

    def __post_init__(self) -> None:
        self.gate.set()

    async def __call__(self, batch: Sequence[Delivery]) -> list[Settlement]:
        self.batches.append([delivery.entry_id for delivery in batch])
        self.hooks.note("begun", len(batch))
        await self.gate.wait()
        for delivery in batch:
            if error := self.fail(delivery):
                raise error
        self.handled += [delivery.entry_id for delivery in batch]
        self.hooks.note("handled", len(batch))
        return [Settlement(item.stream, item.entry_id, (count(HANDLED, item.entry_id),)) for item in batch]


@dataclass
class Running:
    """A consumer at work."""

    consumer: Consumer
    recorder: Recorder
    hooks: RecordingHooks
    task: asyncio.Task[None]

    async def stop(self, within_s: float = DEADLINE_S) -> None:
        """Asks it to stop and waits for its end; what it raised comes out."""
        self.consumer.stop()
        done, _ = await asyncio.wait({self.task}, timeout=within_s)
        if not done:
            for task in asyncio.all_tasks():
                task.print_stack()
        assert done, "the consumer did not stop"
        self.task.result()


def settings_of(url: str) -> Settings:
    """Settings on that server."""
    return Settings(redis_url=url, data_dir=Path("unused"), rate_limit=None)


@asynccontextmanager
async def running(
    url: str,
    name: str = "me",
    *,
    policy: ConsumerPolicy = FAST,
    streams: Sequence[str] = (keys.LEADS,),
    handle: Handle | None = None,
    prepare: Callable[[Recorder], None] = lambda _: None,
) -> AsyncIterator[Running]:
    """Runs a consumer of `GROUP` until the block ends; a failure of it fails the block."""
    hooks = RecordingHooks()
    recorder = Recorder(hooks)
    prepare(recorder)

    def make(_: Client) -> Handle:
        return handle or recorder

    wiring = batch_consumer(
        settings_of(url), policy, group=GROUP, partition=0, streams=streams, name=name, make_handle=make, hooks=hooks
    )
    async with wiring as consumer:
        task = asyncio.create_task(consumer.run())
        made = Running(consumer, recorder, hooks, task)
        try:
            yield made
            recorder.gate.set()
            await made.stop()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def counted(client: Client) -> dict[str, int]:
    """Entry id to how often its handling took effect."""
    return {name.decode(): int(value) for name, value in (await client.hgetall(HANDLED)).items()}


async def deliver_to(client: Client, consumer: str, stream: str, number: int = 1) -> list[str]:
    """Hands unread entries to a consumer that then does nothing with them; returns their ids."""
    reply = await client.xreadgroup(GROUP, consumer, {stream: ">"}, count=number)
    return [entry_id.decode() for entry_id, _ in reply[0][1]]
