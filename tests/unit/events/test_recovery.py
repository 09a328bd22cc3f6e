"""When a consumer reads again after Redis was away."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from redis.exceptions import ConnectionError as RedisConnectionError

from leadstream_events.errors import RedisCause
from leadstream_events.redis_client import connect
from leadstream_events.runtime.hooks import Hooks
from leadstream_events.runtime.policy import ConsumerPolicy
from leadstream_events.runtime.recovery import Recovery

GRACE_S = 77.0


class BackAtTheSecondTry:
    """A source whose server comes back just after the mend has failed."""

    group = "recovering"

    def __init__(self) -> None:
        self.client = self.blocking = connect("redis://127.0.0.1:1/0", timeout_s=1.0)
        self.tries = 0

    async def ensure_groups(self) -> list[str]:
        self.tries += 1
        if self.tries == 1:
            raise RedisConnectionError("refused")
        return []


class Noting(Recovery):
    """Notes how long it would pause."""

    paused: list[float]

    async def pause(self, seconds: float) -> None:
        self.paused.append(seconds)


async def test_merges_go_first_also_when_redis_comes_back_right_after_a_failed_mend() -> None:
    policy = ConsumerPolicy(resume_grace_s=GRACE_S)
    recovery = Noting(cast(Any, BackAtTheSecondTry()), policy, Hooks("recovering"), asyncio.Event(), None)
    recovery.paused = []
    await recovery.note_trouble(RedisCause.DOWN)
    assert GRACE_S not in recovery.paused, "it does not answer yet"
    await recovery.resume()
    assert recovery.paused[-1] == GRACE_S
    await recovery.resume()
    assert recovery.paused.count(GRACE_S) == 1
