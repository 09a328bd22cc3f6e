"""A handler that works on batches, one at a time: for services whose work is a function of the events.

The handle function returns one settlement per delivery. When it raises, the batch is split until the bad delivery is
alone, which then becomes a dead letter; `Transient` parks, Redis trouble waits and tries again.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from structlog.stdlib import get_logger

from leadstream_events.effects import Settlement
from leadstream_events.errors import Permanent, Transient
from leadstream_events.redis_client import classify
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.delivery import Delivery, give_up
from leadstream_events.runtime.hooks import Hooks
from leadstream_events.runtime.policy import ConsumerPolicy, backoff_s
from leadstream_events.runtime.traced import traced
from leadstream_events.tasks import end

logger = get_logger("leadstream.batch")

Handle = Callable[[Sequence[Delivery]], Awaitable[Sequence[Settlement]]]


class BatchHandler:
    """Adapts a batch function to the runtime. `consumer` is set by whoever wires the two together."""

    consumer: Consumer

    def __init__(self, handle: Handle, *, group: str, policy: ConsumerPolicy, hooks: Hooks) -> None:
        self._handle, self._group, self._policy, self._hooks = handle, group, policy, hooks
        self._task: asyncio.Task[None] | None = None

    def room(self) -> int:
        """A whole batch, or nothing while one is under way; a bug in the last one comes out here."""
        if self._task and not self._task.done():
            return 0
        if self._task and not self._task.cancelled():
            self._task.result()
        return self._policy.batch

    async def wait_for_room(self) -> None:
        """Waits for the batch under way; a bug in it comes out here."""
        if self._task:
            await asyncio.shield(self._task)

    def take(self, deliveries: Sequence[Delivery]) -> None:
        """Starts on a batch."""
        previous = self._task

        async def chained() -> None:
            if previous:
                await previous
            await self._work(deliveries)

        self._task = asyncio.create_task(chained(), name=f"batch-{self._group}")

    async def drain(self) -> Sequence[Delivery]:
        """Waits for the batch under way; cancelled at the deadline, it leaves no work behind that runs on."""
        try:
            await self.wait_for_room()
        except asyncio.CancelledError:
            await end(self._task)
            raise
        return ()

    async def _work(self, batch: Sequence[Delivery]) -> None:
        failures, spans = 0, traced(self._group, batch)
        while True:
            try:
                settlements = await self._handle(spans.deliveries)
                break
            except Transient as error:
                settlements = [self.consumer.release(item, error.retry_after_s) for item in batch]
                break
            except Exception as error:
                trouble = classify(error)
                if trouble is None:
                    self._note_end_of_trouble(failures)
                    spans.end(error)
                    await self._split(batch, error)
                    return
                failures += 1
                if failures == 1:
                    logger.warning(
                        "redis cannot take work; the batch waits", group=self._group, cause=trouble.cause.value
                    )
                self._hooks.trouble(trouble.cause.value)
                await asyncio.sleep(backoff_s(failures, self._policy, random.random()))
        self._note_end_of_trouble(failures)
        done = await self.consumer.settle_all(settlements)
        spans.end()
        ended = {(item.stream, entry_id) for item in settlements for entry_id in item.entry_ids}
        forgotten = {item.place for item in batch} - ended
        if forgotten:
            raise RuntimeError(f"the handler of {self._group} settled no end of {len(forgotten)} deliveries")
        await self._one_by_one(
            batch, [item for item, ok in zip(settlements, done, strict=True) if item.more and not ok]
        )

    def _note_end_of_trouble(self, failures: int) -> None:
        if failures:
            logger.info("redis takes work again; the batch goes on", group=self._group)
            self._hooks.recovered()

    async def _one_by_one(self, batch: Sequence[Delivery], refused: Sequence[Settlement]) -> None:
        """Some entry of these was somebody else's by now, so that none was finished: each one by itself, then."""
        places = {(item.stream, entry_id) for item in refused for entry_id in item.entry_ids}
        for delivery in batch:
            if delivery.place in places:
                await self._work([delivery])

    async def _split(self, batch: Sequence[Delivery], error: Exception) -> None:
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._work(batch[:middle])
            await self._work(batch[middle:])
            return
        cause = error.cause if isinstance(error, Permanent) else "handler_error"
        detail = error.detail if isinstance(error, Permanent) else _where(error)
        logger.error("entry given up", group=self._group, entry=batch[0].entry_id, cause=cause, detail=detail)
        if await self.consumer.settle(give_up(batch[0], self._group, cause, detail, datetime.now(UTC))):
            self._hooks.dead(cause)


def _where(error: Exception) -> str:
    """Type and place of a bug; not its text, which may quote the data."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} in {place}"
