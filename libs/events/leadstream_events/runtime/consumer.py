"""One consumer of one group: hands each entry to the handler at least once, and to one live worker at a time.

It never acknowledges: the handler settles each delivery through the committer, together with its outcome. What it
did last is in `last_read_s` and in the hooks. Redis trouble of every kind ends in a backoff and another try, a lost
group is created again at its stored checkpoint, and a loop that reads nothing although entries wait is restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from structlog.stdlib import get_logger

from leadstream_events import effects, keys
from leadstream_events.effects import Effect, Settlement, Verb
from leadstream_events.errors import RedisCause
from leadstream_events.redis_client import classify, redis_may_refuse
from leadstream_events.runtime.committer import Committer
from leadstream_events.runtime.delivery import Delivery, give_up
from leadstream_events.runtime.handler import Handler
from leadstream_events.runtime.hooks import Hooks
from leadstream_events.runtime.policy import ConsumerPolicy, is_silent
from leadstream_events.runtime.progress import Progress
from leadstream_events.runtime.recovery import Recovery
from leadstream_events.runtime.source import GroupSource, monotonic_s
from leadstream_events.tasks import end, reveal

logger = get_logger("leadstream.consumer")

# While new entries keep coming, parked ones are asked for this often; an idle consumer sleeps until the next is due.
_ASK_DUE_EVERY_S = 0.25


class Consumer:
    """Runs one consumer until `stop()`; see the module's promise."""

    def __init__(
        self,
        source: GroupSource,
        committer: Committer,
        handler: Handler,
        *,
        policy: ConsumerPolicy,
        hooks: Hooks,
        on_group_created: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.source, self._committer, self._handler = source, committer, handler
        self._policy, self._hooks = policy, hooks
        self._in_flight: dict[tuple[str, str], Delivery] = {}
        self._giving_up: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._had_due = self._few = self._more_orphans = False
        self._maintained_s = self._renewed_s = self._retired_s = 0.0
        self._ask_due_at_s, self._next_due_at_s = 0.0, math.inf
        self._recovery = Recovery(source, policy, hooks, self._stopping, on_group_created)
        self.last_read_s = self.last_tick_s = monotonic_s()
        self._progress = Progress(policy, self.last_read_s)

    @property
    def trouble(self) -> RedisCause | None:
        """Why Redis cannot take work now; None while it does."""
        return self._recovery.trouble

    @property
    def stalled(self) -> bool:
        """True when entries wait, none was finished for the policy's `stalled_s`, and no limit holds them back."""
        return self._progress.stalled(monotonic_s(), getattr(self._handler, "held_until_s", 0.0))

    def redis_was_away(self) -> None:
        """Tells, before `run`, that Redis has come up just now: the policy's grace is waited out first."""
        self._recovery.redis_was_away()

    def stop(self) -> None:
        """Asks the loop to stop reading, finish or release what is in flight, and return."""
        self._stopping.set()

    def in_flight(self) -> list[tuple[str, str]]:
        """Places of the deliveries that are being worked on."""
        return list(self._in_flight)

    async def settle(self, settlement: Settlement) -> bool:
        """Settles one delivery; True when it took effect. The handler calls this, once per delivery."""
        try:
            done = await self._committer.put(settlement)
        except BaseException:
            self._drop([settlement])
            raise
        if done or not settlement.more:
            self._drop([settlement])
        return done

    async def settle_all(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Settles several; what did not take effect although it is for several entries stays in flight."""
        futures = [self._committer.put(settlement) for settlement in settlements]
        try:
            results = await asyncio.gather(*futures)
        except BaseException:
            self._drop(settlements)
            raise
        self._drop([item for item, done in zip(settlements, results, strict=True) if done or not item.more])
        return list(results)

    def _drop(self, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            for entry_id in settlement.entry_ids:
                self._in_flight.pop((settlement.stream, entry_id), None)
        self._progress.made(monotonic_s())
        self._hooks.in_flight(len(self._in_flight))

    def forget(self, delivery: Delivery) -> None:
        """Drops a delivery that is somebody else's by now; nothing is settled."""
        self._in_flight.pop(delivery.place, None)
        self._hooks.in_flight(len(self._in_flight))

    def release(self, delivery: Delivery, delay_s: float, *extra: Effect) -> Settlement:
        """The settlement that gives a delivery back, to be taken by any worker after the delay."""
        key = keys.due(delivery.partition, self.source.group)
        all_effects = (*extra, effects.due(key, delivery.stream, delivery.entry_id, delay_s))
        return Settlement(delivery.stream, delivery.entry_id, all_effects, Verb.PARK)

    async def run(self) -> None:
        """Runs until stopped. Bugs of the handler pass through; Redis trouble does not."""
        while not self._stopping.is_set():
            loop = asyncio.create_task(self._read_forever(), name=f"consumer-{self.source.group}")
            watch = asyncio.create_task(self._watch(), name=f"watchdog-{self.source.group}")
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait({loop, watch, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if loop.done() and not loop.cancelled():
                    loop.result()
            finally:
                await end(loop, watch, stopping)
        await self._drain()

    async def _read_forever(self) -> None:
        await self._recovery.start()
        while True:
            self.last_tick_s = monotonic_s()
            try:
                await self._recovery.resume()
                await self.run_once()
                self._recovery.note_success()
            except Exception as error:
                if (cause := classify(error)) is None:
                    raise
                await self._recovery.note_trouble(cause.cause)

    async def run_once(self) -> int:
        """One tick: renew, claim, take what is due, read what is new. Returns how many deliveries it handed over."""
        now = monotonic_s()
        handed = await self._maintain(now)
        room = self._handler.room()
        if room <= 0:
            return handed + await self._wait_for_room()
        count = min(room, self._policy.batch)
        if not self._had_due and now >= min(self._ask_due_at_s, self._next_due_at_s):
            deliveries, next_due_s = await self.source.take_due(count)
            self._next_due_at_s = math.inf if next_due_s is None else now + next_due_s
            self._ask_due_at_s = now + _ASK_DUE_EVERY_S
            if deliveries:
                self._had_due, self._ask_due_at_s = True, now
                return handed + self._hand_over("due", deliveries)
        # After due entries it is the turn of new ones, at once: a long queue of parked mails must not starve them.
        await self._linger()
        hurry = self._had_due or self._more_orphans
        deliveries = await self.source.read_new(count, 0.0 if hurry else self._block_s(now))
        if self._more_orphans:  # new entries have had their turn: the next orphans need not wait for theirs
            self._more_orphans, self._maintained_s = False, 0.0
        self._few, self._had_due = 0 < len(deliveries) < count // 2, False
        self.last_read_s = monotonic_s() if deliveries else self.last_read_s
        return handed + self._hand_over("new", deliveries)

    async def _wait_for_room(self) -> int:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._until_upkeep_s(monotonic_s())):
                await self._handler.wait_for_room()
        self.last_read_s = monotonic_s()
        return 0

    async def _linger(self) -> None:
        """After a small batch, lets the next one gather for a moment: a batch costs much the same, small or large."""
        if self._few and self._policy.linger_s:
            self._few = False
            await self._recovery.pause(self._policy.linger_s)

    def _block_s(self, now: float) -> float:
        return min(self._policy.block_s, self._until_upkeep_s(now), max(0.001, self._next_due_at_s - now))

    def _until_upkeep_s(self, now: float) -> float:
        """Until `_maintain` has something to do."""
        renewal_s = self._renewed_s + self._policy.renew_every_s - now if self._in_flight else math.inf
        return max(0.001, min(renewal_s, self._maintained_s + self._policy.claim_every_s - now))

    async def _maintain(self, now: float) -> int:
        """Renews leases, claims orphans and removes dead consumers, each when its time has come."""
        if now - self._renewed_s >= self._policy.renew_every_s and self._in_flight:
            await self.source.renew(self.in_flight())
            self._renewed_s = now
        if now - self._maintained_s < self._policy.claim_every_s:
            return 0
        self._maintained_s = now
        if now - self._retired_s >= self._policy.lease_s:
            await self.source.retire_dead_consumers()
            self._retired_s = now
        room = max(0, self._handler.room())
        claimed = await self.source.claim_orphans(room, self._in_flight)
        self._more_orphans = 0 < room <= len(claimed.orphans)
        for delivery in claimed.poison:
            cause = delivery.problem.cause if delivery.problem else "poison"
            await self._dead_letter(delivery, cause, "delivered too often without ever finishing")
        return self._hand_over("claimed", list(claimed.orphans))

    def _hand_over(self, how: str, deliveries: list[Delivery]) -> int:
        # A group created again hands out once more what is being worked on: two attempts at a time would be two mails.
        fresh = {delivery.place: delivery for delivery in deliveries if delivery.place not in self._in_flight}
        deliveries = list(fresh.values())
        if not deliveries:
            return 0
        self._hooks.read(how, len(deliveries))
        self._in_flight |= {delivery.place: delivery for delivery in deliveries}
        self._hooks.in_flight(len(self._in_flight))
        readable = [delivery for delivery in deliveries if delivery.problem is None]
        for delivery in deliveries:
            if (problem := delivery.problem) is not None:
                task = asyncio.create_task(self._dead_letter(delivery, problem.cause, problem.detail))
                self._giving_up.add(task)
                task.add_done_callback(self._giving_up.discard)
                task.add_done_callback(partial(reveal, what="settling a dead letter failed"))
        if readable:
            self._handler.take(readable)
        return len(deliveries)

    async def _dead_letter(self, delivery: Delivery, cause: str, detail: str) -> None:
        logger.warning("entry given up", group=self.source.group, entry=delivery.entry_id, cause=cause)
        if await self.settle(give_up(delivery, self.source.group, cause, detail, datetime.now(UTC))):
            self._hooks.dead(cause)

    async def _watch(self) -> None:
        """Returns, so that `run` starts a new loop, when this one has gone silent."""
        policy = self._policy
        while True:
            await asyncio.sleep(policy.silence_s / 2)
            now = monotonic_s()
            stuck = now - self.last_tick_s > policy.silence_s + policy.block_s + 2 * policy.backoff_max_s
            if not stuck and self.trouble is None:
                try:
                    async with asyncio.timeout(policy.silence_s):
                        lag = await self.source.unread()
                except Exception as error:
                    if classify(error) is None:
                        raise
                    continue
                if not lag:  # silence counts from when entries wait
                    self.last_read_s = monotonic_s()
                self._progress.saw(lag > 0 or bool(self._in_flight), now)
                stuck = is_silent(now, self.last_read_s, lag, policy)
            if stuck:
                logger.error("the loop went silent; restarting it", group=self.source.group)
                self._recovery.note_restart()
                self.last_read_s = self.last_tick_s = monotonic_s()
                return

    async def _drain(self) -> None:
        """Finishes what was begun within the deadline, even without Redis, releases the rest, and leaves the group."""
        work = asyncio.create_task(self._finish(), name=f"drain-{self.source.group}")
        leases = asyncio.create_task(self._keep_leases(), name=f"leases-{self.source.group}")
        try:
            in_time, _ = await asyncio.wait({work}, timeout=self._policy.drain_s)
        finally:
            await end(work, leases)
        if not in_time:
            logger.warning("drain deadline passed; leases will bring entries back", group=self.source.group)
        elif (error := work.exception()) and classify(error) is None:
            raise error

    async def _keep_leases(self) -> None:
        """Renews while the last work ends: the drain may outlast the lease."""
        while True:
            await asyncio.sleep(self._policy.renew_every_s)
            with redis_may_refuse():
                await self.source.renew(self.in_flight())

    async def _finish(self) -> None:
        unseen, begun = self.source.unseen(self._in_flight), self._handler.drain()
        await asyncio.gather(self._give_back(unseen), self._give_back(begun), *self._giving_up)
        await self.source.leave()

    async def _give_back(self, asked: Awaitable[Sequence[Delivery]]) -> None:
        left: Sequence[Delivery] = ()
        with redis_may_refuse():
            left = await asked
        await asyncio.gather(*(self.settle(self.release(delivery, 0.0)) for delivery in left))
