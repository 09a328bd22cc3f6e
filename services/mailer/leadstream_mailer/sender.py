"""The mailer's handler: limiter and ledger, then SMTP, then the commit.

No mail goes without a token. With limits the ledger is asked after it, so that no mail is begun before its turn;
without any it is asked at the same time. It holds no SMTP connection while it waits for a token, has at most as many
mails under way as it has connections for (`service.py`: more without a limit, so that connections never idle), and
sleeps until the moment at which the limiter or the breaker said to ask again. Every delivery ends in exactly one
settlement, or is given back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from structlog.stdlib import get_logger

from leadstream_events import scripts
from leadstream_events.directory import Directory, Snapshot
from leadstream_events.effects import Argument, Settlement
from leadstream_events.errors import RedisCause
from leadstream_events.redis_client import Client, classify, redis_may_refuse
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.delivery import Delivery, give_up
from leadstream_events.runtime.source import monotonic_s
from leadstream_events.schemas.events import EmailRequested
from leadstream_mail.attempt_rules import AttemptRules
from leadstream_mailer import metrics
from leadstream_mailer.attempting import Again, Attempter, Forget, address_of
from leadstream_mailer.copies import mark_copy
from leadstream_mailer.ending import Ready, not_sent, why_end
from leadstream_mailer.limiter import FREE, Limiter, Token
from leadstream_mailer.telling import tell
from leadstream_mailer.unsettled import Unsettled
from leadstream_mailer.verdict import Attempt

logger = get_logger("leadstream.mailer")

Begun = Mapping[str, tuple[bytes, int, int, bytes]]
"""Entry id to what `begin.lua` says of its mail."""

_CRUMBS = 4
_DIRECTORY_AGE_S = 0.02
_REDIS_PAUSE_S = 0.5


class Sender:
    """Sends the mails of one partition. `consumer` is set by the wiring.

    What it asks beside `attempter` and `directory` goes out in one round trip with theirs if they share its `client`.
    """

    consumer: Consumer

    def __init__(
        self,
        client: Client,
        *,
        owner: str,
        lease_s: float,
        rules: AttemptRules,
        directory: Directory,
        limiter: Limiter,
        attempter: Attempter,
        concurrency: int,
        unsettled: Unsettled,
        partition: int,
        max_deliveries: int,
    ) -> None:
        self._client = client
        self._owner, self._lease_s, self._rules = owner, lease_s, rules
        self._directory, self._limiter, self._attempter = directory, limiter, attempter
        self._concurrency, self._unsettled, self._partition = concurrency, unsettled, partition
        self._max_deliveries = max_deliveries
        self._queue: deque[Attempt] = deque()
        self._active: dict[asyncio.Task[object], Delivery] = {}
        self._changed = asyncio.Event()
        self._draining = False
        # Monotonic: until then a limit of all mails holds the next one back.
        self.held_until_s = 0.0
        self._trouble: RedisCause | None = None
        self._dispatcher: asyncio.Task[None] | None = None

    def room(self) -> int:
        """Reads no more than it can soon send, and not in crumbs: one read costs much the same for few or many."""
        capacity = 2 * self._concurrency
        room = capacity - len(self._queue) - len(self._active)
        return room if room * _CRUMBS >= capacity else 0

    async def wait_for_room(self) -> None:
        """Returns when a mail has left; a bug in the dispatcher comes out here."""
        while self.room() == 0:
            self._changed.clear()
            if self._dispatcher and self._dispatcher.done():
                self._dispatcher.result()
            await self._changed.wait()

    def take(self, deliveries: Sequence[Delivery]) -> None:
        """Queues deliveries for the dispatcher."""
        for delivery in deliveries:
            event = delivery.event
            if event and isinstance(event.data, EmailRequested):
                self._queue.append(Attempt(delivery, event, event.data))
            else:
                letter = give_up(delivery, "mailer", "unexpected_type", "not an EmailRequested", datetime.now(UTC))
                self._spawn(delivery, self._settle(letter))
        if self._dispatcher is None:
            self._dispatcher = asyncio.create_task(self._dispatch_forever(), name="mailer-dispatcher")
        elif self._dispatcher.done():
            self._dispatcher.result()
        self._changed.set()

    async def drain(self) -> Sequence[Delivery]:
        """Lets mails that are being sent end; returns those not begun."""
        self._draining = True
        self._changed.set()
        if self._dispatcher:
            await asyncio.gather(self._dispatcher, return_exceptions=True)
        while self._active:
            await asyncio.wait(self._active)
        left = [attempt.delivery for attempt in self._queue]
        self._queue.clear()
        return left

    async def _dispatch_forever(self) -> None:
        while not self._draining:
            self._changed.clear()
            free = self._concurrency - len(self._active)
            if free * _CRUMBS < min(self._concurrency, len(self._queue)):
                free = 0
            pause_s: float | None = self._attempter.breaker.pause_s(monotonic_s()) or None
            if self._queue and free > 0 and pause_s is None:
                pause_s = await self._dispatch_some(min(free, len(self._queue)))
                if pause_s is None:
                    continue
            if pause_s is None:
                await self._changed.wait()
            else:
                await self._sleep(pause_s)

    async def _sleep(self, seconds: float) -> None:
        """Sleeps out a pause; only draining ends it early."""
        try:
            async with asyncio.timeout(seconds):
                while not self._draining:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    async def _dispatch_some(self, count: int) -> float | None:
        """Begins up to `count` mails; returns seconds to pause when one of them may not go now."""
        batch = [self._queue.popleft() for _ in range(count)]
        ready: list[Ready] = []
        try:
            asked = self._attempter.with_addresses(batch), self._look_around(batch), self._begin_at_once(batch)
            batch, self._snapshot, begun = await asyncio.gather(*asked)
            ready, waiting, pause_s = await self._ask_limits(batch)
            await self._start(ready, begun or await self._ask_ledger([item.attempt for item in ready]))
        except Exception as error:
            refusal = classify(error)
            if refusal is None:
                raise
            self._note_trouble(refusal.cause)
            self._limiter.abandon([item.token for item in ready])
            # Whatever the ledger has begun is begun again as the same attempt.
            busy = {delivery.entry_id for delivery in self._active.values()}
            self._queue.extendleft(item for item in reversed(batch) if item.delivery.entry_id not in busy)
            return _REDIS_PAUSE_S
        self._note_trouble(None)
        self._queue.extendleft(reversed(waiting))
        metrics.WAITING.set(len(self._queue))
        self.held_until_s = monotonic_s() + (pause_s or 0.0)
        return pause_s

    def _note_trouble(self, cause: RedisCause | None) -> None:
        """Says it once: a full Redis lets the loop read on and stops only what is written before a mail is sent."""
        if cause is not self._trouble:
            if cause is None:
                logger.info("redis takes work again; mails go out")
            else:
                logger.warning("redis cannot take work; mails wait", cause=cause.value)
        self._trouble = cause

    async def _look_around(self, batch: Sequence[Attempt]) -> Snapshot:
        """The subscribers as they are now, or were a moment ago."""
        # A mail that begins again may do so because its address was released a moment ago.
        again = any(attempt.request.redrives for attempt in batch)
        return await self._directory.refresh(0.0 if again else _DIRECTORY_AGE_S)

    async def _ask_limits(self, batch: Sequence[Attempt]) -> tuple[list[Ready], list[Attempt], float | None]:
        """Sorts mails into those that may be begun and those that wait; a domain's limit parks its mails."""
        snapshot, now, asked_s = self._snapshot, datetime.now(UTC), monotonic_s()
        reasons = {attempt.request.email_id: why_end(attempt, snapshot, now, self._max_deliveries) for attempt in batch}
        due = [attempt for attempt in batch if not reasons[attempt.request.email_id]]
        ready = [Ready(attempt, FREE, reason) for attempt in batch if (reason := reasons[attempt.request.email_id])]
        waiting, pauses = [], []
        answers = await self._limiter.take([address_of(attempt, snapshot) for attempt in due], asked_s)
        for attempt, answer in zip(due, answers, strict=True):
            if isinstance(answer, Token):
                ready.append(Ready(attempt, answer))
            elif answer.of_domain:
                metrics.HELD_BACK.inc()
                release = self.consumer.release(attempt.delivery, answer.seconds)
                self._spawn(attempt.delivery, self._settle(release))
            else:
                waiting.append(attempt)
                pauses.append(answer.seconds)
        return ready, waiting, min(pauses, default=None)

    async def _begin_at_once(self, batch: Sequence[Attempt]) -> Begun:
        """Where no limit can hold a mail back, the ledger is asked at the same time as everything else."""
        return await self._ask_ledger(batch) if await self._limiter.is_free(monotonic_s()) else {}

    async def _ask_ledger(self, attempts: Sequence[Attempt]) -> Begun:
        """Writes attempts down, before anything is sent. One that is then not made was none: it is not counted."""
        if not attempts:
            return {}
        numbers: dict[str, int] = {}
        args: list[Argument] = [self._owner, self._rules.max_attempts, int(self._lease_s * 1000)]
        for asked in attempts:
            number = numbers.setdefault(asked.ledger, len(numbers) + 1)
            args += (number, asked.request.email_id, asked.delivery.entry_id, asked.unsent)
        replies = await scripts.run(self._client, scripts.BEGIN, list(numbers), args)
        return {asked.delivery.entry_id: reply for asked, reply in zip(attempts, replies, strict=True)}

    async def _start(self, ready: Sequence[Ready], begun: Begun) -> None:
        """Starts what may be sent; whatever may not is settled at once."""
        unused = []
        for item in ready:
            asked = item.attempt
            answer, number, unknowns, _ = begun[asked.delivery.entry_id]
            attempt = Attempt(asked.delivery, asked.event, asked.request, self._owner, number, unknowns)
            if answer == b"go" and item.end is None:
                self._spawn(attempt.delivery, self._send(attempt, item.token))
            else:
                unused.append(item.token)
                settlement = not_sent(answer, attempt, item.end, self._rules, datetime.now(UTC))
                given_back = settlement or self.consumer.release(attempt.delivery, self._lease_s)
                self._spawn(attempt.delivery, self._settle(given_back))
        await self._give_back(unused)

    async def _send(self, attempt: Attempt, token: Token) -> None:
        try:
            result = await self._attempter.attempt(attempt, token.expires_s, self._snapshot)
        finally:
            if token.places:
                await self._return(self._limiter.leave(token))
        if isinstance(result, Settlement):
            if not await self._settle(result):
                await mark_copy(self._client, result)
        elif isinstance(result, Forget):
            self.consumer.forget(attempt.delivery)
        else:
            await self._begin_again(attempt, token, result)

    async def _begin_again(self, attempt: Attempt, token: Token, again: Again) -> None:
        self._queue.appendleft(Attempt(attempt.delivery, attempt.event, attempt.request, unsent=attempt.number))
        if again.unreachable:
            await self._give_back([token])

    async def _give_back(self, tokens: Sequence[Token]) -> None:
        await self._return(self._limiter.give_back(tokens))

    async def _return(self, work: Coroutine[Any, Any, None]) -> None:
        """A token that Redis does not take back now is lost, which errs on the safe side."""
        with redis_may_refuse():
            await work

    async def _settle(self, settlement: Settlement) -> bool:
        """True when it took effect. One that is cut short stays among the unsettled."""
        self._unsettled.begin(self._partition, settlement)
        done = await self.consumer.settle(settlement)
        self._unsettled.done(settlement)
        if done:
            tell(settlement)
        return done

    def _spawn(self, delivery: Delivery, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._active[task] = delivery
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[object]) -> None:
        delivery = self._active.pop(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()):
            self.consumer.forget(delivery)
            logger.error("a send ended in a bug; its lease brings the mail back", error=type(error).__name__)
