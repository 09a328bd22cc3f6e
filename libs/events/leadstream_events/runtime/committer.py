"""Carries out settlements in batches through `lua/commit.lua`, and does not give up while Redis is away.

`settle()` returns once the settlement has taken effect, or once it is known that the entry is not ours any more. A
lost reply leads to a second try of the same batch, which then changes nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence

from structlog.stdlib import get_logger

from leadstream_events import keys, scripts
from leadstream_events.effects import Settlement, appended_type, commit_call
from leadstream_events.errors import Backpressure
from leadstream_events.redis_client import classify
from leadstream_events.runtime.hooks import Hooks
from leadstream_events.runtime.policy import ConsumerPolicy, backoff_s
from leadstream_events.tasks import end
from leadstream_events.writer import SCRIPT_DEADLINE_S, PipelinedWriter

logger = get_logger("leadstream.committer")

MAX_BATCH = 200
# A commit is one script, and nobody else is served meanwhile: a few milliseconds' worth.
MAX_EFFECTS = 4_000

Stuck = Callable[[Sequence[Settlement]], None]


class Committer:
    """Settles deliveries of one consumer. Start it with `async with`; leaving it drops what is not settled.

    `stuck` is told the settlements of a batch when Redis first refuses it: the place to keep them on disk.
    """

    def __init__(
        self,
        writer: PipelinedWriter,
        *,
        group: str,
        consumer: str,
        partition: int,
        policy: ConsumerPolicy,
        hooks: Hooks,
        stuck: Stuck | None = None,
    ) -> None:
        self._writer, self._policy, self._hooks, self._stuck = writer, policy, hooks, stuck
        self._group, self._consumer, self._partition = group, consumer, partition
        self._waiting: list[tuple[Settlement, asyncio.Future[bool]]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Committer:
        self._task = asyncio.create_task(self._run(), name=f"committer-{self._group}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        await end(self._task)
        for waiting in self._waiting:
            waiting[1].cancel()

    def put(self, settlement: Settlement) -> asyncio.Future[bool]:
        """Queues a settlement; the future says True when it took effect, False when the entry was not ours.

        It is cancelled when the committer was left before.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.cancel()
            return future
        self._waiting.append((settlement, future))
        self._wake.set()
        return future

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Settles several deliveries; returns in order what `put` promises for each."""
        return list(await asyncio.gather(*(self.put(settlement) for settlement in settlements)))

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(0)  # whoever else is ready in this turn of the loop comes along
            while self._waiting:
                batch = self._waiting[: _fitting([item[0] for item in self._waiting[:MAX_BATCH]])]
                try:
                    results: Sequence[bool | Exception] = await self._commit([item[0] for item in batch])
                except Exception as error:  # a bug, not Redis: whoever settles must see it
                    results = [error] * len(batch)
                del self._waiting[: len(batch)]
                for (_, future), result in zip(batch, results, strict=True):
                    if future.done():
                        continue
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)

    async def _commit(self, settlements: Sequence[Settlement]) -> list[bool]:
        checkpoints = keys.checkpoints(self._partition)
        names, args = commit_call(self._group, self._consumer, checkpoints, settlements)
        failures = 0
        while True:
            try:
                replies = await self._writer.call(scripts.COMMIT, names, args, deadline_s=SCRIPT_DEADLINE_S)
                break
            except Exception as error:
                cause = classify(error)
                if cause is None:
                    raise
                failures += 1
                await self._wait(cause, failures, settlements)
        if failures:
            logger.info("redis takes outcomes again", group=self._group)
            self._hooks.recovered()
        results = [reply == 1 for reply in replies]
        counts, types = Counter[str](), Counter[str]()
        for settlement, done in zip(settlements, results, strict=True):
            if done:
                counts[settlement.verb.value] += len(settlement.entry_ids)
                types.update(event_type for effect in settlement.effects if (event_type := appended_type(effect)))
            elif not settlement.more:  # those of several entries are settled once more, one by one
                counts["lost"] += 1
        self._hooks.lost(counts.pop("lost", 0))
        for verb, count in counts.items():
            self._hooks.settled(verb, count)
        for event_type, count in types.items():
            self._hooks.appended(event_type, count)
        return results

    async def _wait(self, cause: Backpressure, failures: int, settlements: Sequence[Settlement]) -> None:
        self._hooks.trouble(cause.cause.value)
        if failures == 1:
            logger.warning("redis takes no outcomes; keeping them", group=self._group, cause=cause.cause.value)
            if self._stuck:
                self._stuck(settlements)
        await asyncio.sleep(backoff_s(failures, self._policy, random.random()))


def _fitting(settlements: Sequence[Settlement]) -> int:
    """How many of these go into one script; at least one, however large it is."""
    effects = 0
    for number, settlement in enumerate(settlements):
        effects += len(settlement.effects)
        if effects > MAX_EFFECTS and number:
            return number
    return len(settlements)
