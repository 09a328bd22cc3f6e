"""What a consumer does about Redis trouble: says it once, backs off, mends what it can, and lets merges go first.

Every kind of trouble ends in another try. A server that is gone gets new connections, a lost group is created again
at its stored checkpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from structlog.stdlib import get_logger

from leadstream_events.errors import RedisCause
from leadstream_events.redis_client import drop_connections, redis_may_refuse
from leadstream_events.runtime.hooks import Hooks
from leadstream_events.runtime.policy import ConsumerPolicy, backoff_s, needs_new_connections, was_away
from leadstream_events.runtime.source import GroupSource, monotonic_s

logger = get_logger("leadstream.consumer")

# Trouble counts as over once this much time has passed without any: a group that is destroyed again and again must
# not be met with the first, short backoff each time.
_STEADY_S = 1.0


class Recovery:
    """The state of one consumer's trouble. `trouble` is None while Redis takes work."""

    def __init__(
        self,
        source: GroupSource,
        policy: ConsumerPolicy,
        hooks: Hooks,
        stopping: asyncio.Event,
        on_group_created: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._source, self._policy, self._hooks, self._stopping = source, policy, hooks, stopping
        self._on_group_created = on_group_created
        self._failures, self._trouble_s = 0, 0.0
        self._was_away = self._answers = self._restarted = False
        self.trouble: RedisCause | None = None

    def redis_was_away(self) -> None:
        """Makes the next start wait out the policy's grace."""
        self._was_away = True

    def note_restart(self) -> None:
        """The watchdog restarts the loop."""
        self._restarted = True
        self._hooks.restarted()

    def note_success(self) -> None:
        """A tick went well."""
        if self._restarted:
            self._restarted = False
            self._hooks.recovered()
        if self.trouble and monotonic_s() - self._trouble_s > _STEADY_S:
            logger.info("redis takes work again", group=self._source.group)
            if was_away(self.trouble):
                self._hooks.reconnected()
            self.trouble, self._failures = None, 0
            self._hooks.recovered()

    async def start(self) -> None:
        """Creates the group if need be, before the first read."""
        await self._mend(RedisCause.NOGROUP)
        await self._let_merges_go_first()

    async def note_trouble(self, cause: RedisCause) -> None:
        """Backs off and mends; returns when it is time to try again."""
        self._failures += 1
        if self.trouble is not cause:
            logger.warning("redis cannot take work; backing off", group=self._source.group, cause=cause.value)
        self.trouble, self._trouble_s = cause, monotonic_s()
        self._hooks.trouble(cause.value)
        await self.pause(backoff_s(self._failures, self._policy, random.random()))
        self._was_away = self._was_away or was_away(cause)
        await self._mend(cause)
        await self._let_merges_go_first()

    async def resume(self) -> None:
        """Before each tick. Passes on what Redis refuses, as a tick does.

        After Redis was away nothing is read until it has answered and the grace is over: it may come back between a
        mend that failed and the next read, which would then be ahead of every merge.
        """
        if self._was_away:
            await self._ensure_groups()
            await self._let_merges_go_first()

    async def pause(self, seconds: float) -> None:
        """Sleeps, unless the consumer is stopping."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _let_merges_go_first(self) -> None:
        """Waits out the policy's grace once Redis, which was away, answers again."""
        if self._was_away and self._answers:
            self._was_away = False
            await self.pause(self._policy.resume_grace_s)

    async def _mend(self, cause: RedisCause) -> None:
        """Drops connections to a server that is gone, and creates groups that are missing. Never raises for Redis."""
        self._answers = False
        with redis_may_refuse():
            if needs_new_connections(cause):
                for client in (self._source.client, self._source.blocking):
                    await drop_connections(client)
            await self._ensure_groups()

    async def _ensure_groups(self) -> None:
        created = await self._source.ensure_groups()
        self._answers = True
        if created and self._on_group_created:
            await self._on_group_created()
        if created:
            logger.info("group created", group=self._source.group, streams=len(created))
