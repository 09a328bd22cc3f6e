"""Whether Redis takes leads, found out by writing over fresh connections.

The first refusal makes it `away`; from then on a probe on a new connection is made several times a second, and the
first one that succeeds ends it. Callers do not wait for a deadline each while Redis is known to be away.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable

from leadstream_events import keys, logs, scripts
from leadstream_events.errors import Backpressure, RedisCause
from leadstream_events.redis_client import classify, connect
from leadstream_events.redis_mends import MENDS
from leadstream_events.scripts import Script
from leadstream_events.settings import Settings
from leadstream_events.tasks import end

GONE_AFTER_S = 1.0
_GONE_PROBES = 2
_PROBE_TIMEOUT_S = 0.4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 0.5
_log = logs.get(__name__)

# Refused exactly when an append would be: on a replica, at full memory, after a failed snapshot.
_TEXT = "return redis.call('HSET', KEYS[1], 'probe', ARGV[1])"
PROBE = Script("probe", _TEXT, hashlib.sha1(_TEXT.encode(), usedforsecurity=False).hexdigest())


class Presence:
    """The view of one process. `changed` is set whenever Redis goes or comes back, or is gone for good."""

    def __init__(self, settings: Settings, on_return: Callable[[], Awaitable[None]]) -> None:
        self._settings, self._on_return = settings, on_return
        self._since_s: float | None = None
        self._failed_probes = 0
        self._probing: asyncio.Task[None] | None = None
        self.cause: RedisCause | None = None
        self.detail = ""
        self.changed = asyncio.Event()

    @property
    def away(self) -> bool:
        """True while Redis is known not to take leads."""
        return self._since_s is not None

    @property
    def gone(self) -> bool:
        """True once fresh connections have failed for a second: only then may mails be sent without Redis."""
        return (
            self._since_s is not None
            and self._failed_probes >= _GONE_PROBES
            and time.monotonic() - self._since_s >= GONE_AFTER_S
        )

    def refused(self, cause: Backpressure) -> None:
        """Redis did not take something: start to probe."""
        self._note(cause)
        if self._since_s is None:
            self._since_s, self._failed_probes = time.monotonic(), 0
            self._probing = asyncio.create_task(self._probe_until_back(), name="probe-redis")
            self.changed.set()

    async def stop(self) -> None:
        """Ends the probing."""
        await end(self._probing)

    def _note(self, cause: Backpressure) -> None:
        """Says each cause: a slow Redis may turn out to be a full one, which has another mend."""
        if cause.cause is not self.cause:
            _log.warning(
                "redis cannot take leads; they go to the spool", cause=cause.cause.value, mend=MENDS.get(cause.cause)
            )
        self.cause, self.detail = cause.cause, cause.detail

    async def _probe_until_back(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._probe()
                await self._on_return()
                break
            except Exception as error:
                cause = classify(error)
                if cause is None:
                    raise
                self._note(cause)
                self._failed_probes += 1
                self.changed.set()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        _log.info("redis takes leads again", away_s=round(time.monotonic() - (self._since_s or 0), 1))
        self._since_s, self.cause, self.detail = None, None, ""
        self.changed.set()

    async def _probe(self) -> None:
        client = connect(self._settings.redis, timeout_s=_PROBE_TIMEOUT_S, max_connections=4)
        try:
            async with asyncio.timeout(2 * _PROBE_TIMEOUT_S):
                await scripts.run(client, PROBE, [keys.META], [str(time.time_ns())])
                for number in range(self._settings.partitions):
                    await client.xlen(keys.stream(number, keys.LEADS))
        finally:
            with contextlib.suppress(Exception):
                await client.aclose()
