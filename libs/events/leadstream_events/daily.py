"""What is done once a day, however many processes are there and whichever of them dies: `lua/daily.lua`.

The day that is due is that of the latest moment at which it should have been done. A process that comes up late still
does it; one that was down for days does only the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from leadstream_events import scripts
from leadstream_events.effects import Argument
from leadstream_events.redis_client import Client


class Turn(StrEnum):
    """The answer to a process that wants to do the day's work."""

    YOURS = "yours"
    BUSY = "busy"
    DONE = "done"
    LOST = "lost"


class End(StrEnum):
    """How a day's work ended. `LATER`: nothing happened, and it is to be tried again."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    LATER = "later"


def day_due(now: datetime, at: str) -> date:
    """The day whose time `at` (HH:MM, in the zone of `now`) has come last."""
    hours, _, minutes = at.partition(":")
    return (now - timedelta(hours=int(hours), minutes=int(minutes))).date()


@dataclass(frozen=True, slots=True)
class Daily:
    """One kind of work; `key` is its state. An owner who said nothing for `dead_after_s` is dead.

    `owner` must name one attempt of one process: two attempts under one name would end each other's.
    """

    client: Client
    key: str
    owner: str
    dead_after_s: float

    async def take(self, day: date) -> Turn:
        """Asks for the day's turn. Redis errors pass through, here and below: asking again is safe."""
        return Turn((await self._run(day, "take")).decode())

    async def commit(self, day: date) -> bool:
        """Says that it happens now: whoever dies from here on leaves the day as `unknown`. False: not ours."""
        return bool(await self._run(day, "commit") == b"ok")

    async def end(self, day: date, how: End, keep: Mapping[str, str]) -> bool:
        """Says how it ended, and keeps these fields beside it. False: it was not ours any more."""
        fields = [part for pair in keep.items() for part in pair]
        return bool(await self._run(day, "end", how.value, *fields) == b"ok")

    async def state(self) -> dict[str, str]:
        """What is kept: `day`, `phase`, `at_ms` and what `end` was given."""
        found = await self.client.hgetall(self.key)
        return {name.decode(): value.decode() for name, value in found.items()}

    async def _run(self, day: date, what: str, *more: str) -> bytes:
        args: list[Argument] = [day.isoformat(), self.owner, what, int(self.dead_after_s * 1000), *more]
        reply: bytes = await scripts.run(self.client, scripts.DAILY, [self.key], args)
        return reply
