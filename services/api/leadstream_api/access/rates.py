"""Limits per API key, counted in Redis for all API processes together, or here while Redis is away.

The window is `lua/take.lua`'s: atomic, on the server's clock, a sliding log. What this process granted is remembered
here too, so that the limit goes on from there when Redis goes. A limiter that cannot count never loses a lead; while
Redis is away each process counts alone, so that many processes let through that many times the limit.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque

from leadstream_events import keys, logs, scripts
from leadstream_events.effects import Argument
from leadstream_events.ids import new_id
from leadstream_events.limits import Rate
from leadstream_events.redis_client import Client, classify

_AWAY_S = 1.0
_MOST_WINDOWS = 10_000
_log = logs.get(__name__)


class LocalWindow:
    """A sliding log in this process; times are monotonic seconds. `turn` keeps one question under way at a time."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.turn = asyncio.Lock()
        self._taken: deque[float] = deque(maxlen=rate.count)

    def wait_s(self, now_s: float) -> float:
        """Seconds until one more fits, 0 for now."""
        if len(self._taken) < self.rate.count:
            return 0.0
        return max(0.0, self._taken[0] + self.rate.period_ms / 1000 - now_s)

    def add(self, now_s: float) -> None:
        """One was let through."""
        self._taken.append(now_s)


class Limiter:
    """Asks Redis for `patience_s` at most, and counts by itself for a second after Redis failed to answer."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._windows: OrderedDict[str, LocalWindow] = OrderedDict()
        self._away_until_s = 0.0

    async def wait_s(self, client: Client, name: str, rate: Rate) -> float:
        """Lets one through and returns 0, or returns the seconds after which to ask again.

        The questions about one name follow one another: a burst takes one connection and not one each, and when
        Redis hangs only the first of them waits for it.
        """
        window = self._window(name, rate)
        async with window.turn:
            wait_s = await self._ask(client, name, rate)
            now_s = time.monotonic()
            if wait_s is None:
                wait_s = window.wait_s(now_s)
            if not wait_s:
                window.add(now_s)
        return wait_s

    async def _ask(self, client: Client, name: str, rate: Rate) -> float | None:
        """What Redis says; None while it says nothing."""
        if time.monotonic() < self._away_until_s:
            return None
        arguments: list[Argument] = [new_id(), 1, rate.count, rate.period_ms, "1"]
        try:
            async with asyncio.timeout(self._patience_s):
                wait_ms, _ = await scripts.run(client, scripts.TAKE, [f"{keys.LIMITS}api:{name}"], arguments)
        except Exception as error:
            cause = classify(error)
            if cause is None:
                raise
            _log.warning("API limits are counted by this process alone for now", cause=cause.cause.value)
            self._away_until_s = time.monotonic() + _AWAY_S
            return None
        return float(wait_ms) / 1000

    def _window(self, name: str, rate: Rate) -> LocalWindow:
        found = self._windows.get(name)
        if found is None or found.rate != rate:
            if len(self._windows) >= _MOST_WINDOWS:  # names of logins come from outside: forget the oldest
                self._windows.popitem(last=False)
            found = self._windows[name] = LocalWindow(rate)
        return found
