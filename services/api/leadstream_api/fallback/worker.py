"""Works the spool off: sends while Redis is gone, merges once it is back.

Of all processes on one spool exactly one works it off: the one that holds the lock (flock, so the kernel frees it
when the process dies); the others only add to it. `work` runs until cancelled and survives Redis and disk trouble.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from leadstream_api.fallback import verdict
from leadstream_api.fallback.database import SpoolUnavailable
from leadstream_api.fallback.limiter import LocalLimiter
from leadstream_api.fallback.merging import Merged, Merger
from leadstream_api.fallback.presence import Presence
from leadstream_api.fallback.rows import SpooledLead, SpooledMail
from leadstream_api.fallback.sending import Postman, tell, why_skip
from leadstream_api.fallback.snapshot import EVERY_S, Known, SnapshotKeeper
from leadstream_api.fallback.spool import Spool
from leadstream_events import logs
from leadstream_events.errors import Backpressure
from leadstream_events.ledger import State
from leadstream_events.recipients import candidates
from leadstream_events.redis_client import classify
from leadstream_events.tasks import end
from leadstream_events.vault import Sealer
from leadstream_mail.attempt_rules import AttemptRules

LOCK_FILE = "spool.lock"
_TICK_S = 0.25
_IDLE_TICK_S = 1.0
_DISK_PAUSE_S = 1.0
_REFUSED_PAUSE_S = 30.0
_PLAN_BATCH = 100
_LOOK_AHEAD = 100
_LEFT_TO_MERGE_MS = 60_000
_log = logs.get(__name__)


class WorkLock:
    """The right to work a spool off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self) -> bool:
        """True when this process has it now."""
        if self._fd is not None:
            return True
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Gives it back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Worker:
    """Works one spool off. `postman` is None when mails cannot be built here; leads are then only merged."""

    def __init__(
        self,
        spool: Spool,
        lock: WorkLock,
        presence: Presence,
        keeper: SnapshotKeeper,
        merger: Merger,
        postman: Postman | None,
        limiter: LocalLimiter,
        rules: AttemptRules,
        sealer: Sealer,
        *,
        welcome: bool,
        concurrency: int,
        on_merged: Callable[[Merged], None],
    ) -> None:
        self._spool, self._lock, self._presence, self._keeper = spool, lock, presence, keeper
        self._merger, self._postman, self._limiter, self._rules = merger, postman, limiter, rules
        self._sealer = sealer
        self._welcome, self._concurrency, self._on_merged = welcome, concurrency, on_merged
        self._sending: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._refused: dict[str, float] = {}
        self._looked_s = 0.0
        self._ready = False
        self._stopping = False
        self.wake = asyncio.Event()

    async def work(self) -> None:
        """Runs until cancelled."""
        while True:
            pause_s = _DISK_PAUSE_S
            try:
                pause_s = await self._tick()
            except (SpoolUnavailable, OSError) as error:
                _log.error("the spool cannot be worked off now", error=type(error).__name__)
            except Exception as error:  # a bug must not end the work on everything else
                _log.error("working the spool off failed", error=type(error).__name__, where=_where(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.wake.wait()
            self.wake.clear()

    async def stop(self, within_s: float) -> None:
        """Begins no more mails, and lets those that are being sent end."""
        self._stopping = True
        tasks = {task for _, task in self._sending.values()}
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=within_s)
            await end(*left)
        self._lock.release()

    async def _tick(self) -> float:
        """One round; returns seconds until the next one, unless something wakes it."""
        if not self._lock.take():
            return _IDLE_TICK_S
        if not self._ready:
            await self._get_ready()
        if not self._presence.away:
            await self._while_there()
        if self._presence.gone:
            return await self._send_some()
        return _TICK_S if self._presence.away else _IDLE_TICK_S

    async def _get_ready(self) -> None:
        """Takes over from whoever held the lock before."""
        await self._spool.check_format()
        await self._keeper.load()
        now, loop = datetime.now(UTC), asyncio.get_running_loop()
        for lead, mail in await self._spool.cut_off():
            row, outcomes = verdict.recovered(lead, mail, self._rules, now)
            await self._spool.write(row, outcomes)
            tell(outcomes)
        starts = await self._spool.starts(0)
        wall_ms = verdict.milliseconds(now)
        for at_ms, address, _ in starts:
            self._limiter.start(address, loop.time() - (wall_ms - at_ms) / 1000)
        self._ready = True

    async def _while_there(self) -> None:
        """Merges what there is, and looks at the directory."""
        loop = asyncio.get_running_loop()
        try:
            await self._merge_all()
        except (Backpressure, RedisError, OSError) as error:
            cause = classify(error)
            if cause is None:
                raise
            self._presence.refused(cause)
        if self._presence.away:  # asking a server that hangs would hold up the sending
            return
        if loop.time() - self._looked_s >= EVERY_S:
            self._looked_s = loop.time()
            try:
                await self._keeper.look()
            except (Backpressure, RedisError, OSError):  # a look that fails says nothing of appends
                self._keeper.forget()

    async def _merge_all(self) -> None:
        now = asyncio.get_running_loop().time()
        self._refused = {lead: until for lead, until in self._refused.items() if until > now}
        prepared = False
        while True:
            if not prepared and (await self._spool.depth()).leads:
                await self._merger.prepare()
                prepared = True
            if self._presence.away:  # since the last step
                return
            busy = {lead_id for lead_id, _ in self._sending.values()} | self._refused.keys()
            merged = await self._merger.merge_some(busy)
            if merged is None:
                return
            self._on_merged(merged)
            self._refused |= dict.fromkeys(merged.refused, now + _REFUSED_PAUSE_S)

    async def _send_some(self) -> float:
        """Decides on mails, and starts as many as may start; returns seconds until it is worth asking again."""
        known, postman = self._keeper.known, self._postman
        if known is None or postman is None or self._stopping:
            return _IDLE_TICK_S
        await self._plan(known)
        now = asyncio.get_running_loop().time()
        pause_s = postman.breaker.pause_s(now)
        free = self._concurrency - len(self._sending)
        if pause_s > 0 or free <= 0:
            return min(_IDLE_TICK_S, pause_s or _IDLE_TICK_S)
        due, _ = await self._spool.due(free + _LOOK_AHEAD, self._sending.keys())
        for lead, mail in due:
            if len(self._sending) >= self._concurrency:
                break
            address = postman.address(lead, mail)
            wait_s, of_domain = self._limiter.wait_s(address, now)
            if wait_s and not of_domain:
                return min(wait_s, _IDLE_TICK_S)
            if not wait_s:
                await self._begin(postman, known, lead, mail, address, now)
        return _TICK_S

    async def _begin(
        self, postman: Postman, known: Known, lead: SpooledLead, mail: SpooledMail, address: str, now: float
    ) -> None:
        if why_skip(lead, mail, address, known.directory, datetime.now(UTC)):
            # Nothing is said of it here: after the merge the mailer decides, by what is known then.
            later = replace(mail, at_ms=mail.at_ms + _LEFT_TO_MERGE_MS)
            await self._spool.write(later if mail.attempts else replace(mail, state=State.SKIPPED))
            return
        self._limiter.start(address, now)
        start = (self._limiter.place_of(address), f"fallback:{mail.email_id}:{mail.attempts + 1}")
        self._spawn(lead.lead_id, mail.email_id, postman.attempt(lead, mail, start))

    async def _plan(self, known: Known) -> None:
        """Decides which mails of new leads the API takes on."""
        for lead in await self._spool.unplanned(_PLAN_BATCH):
            since = await self._spool.leads_before(lead.seq) + self._keeper.appended
            opened = lead.opened(self._sealer)
            everybody = known.directory.subscribers.values()
            due = candidates(lead.lead_id, opened, everybody, welcome=self._welcome) if opened else []
            mails, now = [], datetime.now(UTC)
            for candidate in due:
                subscriber = known.directory.subscribers.get(candidate.subscriber_id or "")
                if subscriber is None or known.may_get(subscriber, since):
                    name = subscriber.name if subscriber else None
                    mails.append(verdict.requested(lead, candidate, name, now))
            await self._spool.plan(lead.lead_id, mails, ())

    def _spawn(self, lead_id: str, email_id: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._sending[email_id] = (lead_id, task)

        def done(task: asyncio.Task[None]) -> None:
            self._sending.pop(email_id, None)
            self.wake.set()
            if not task.cancelled() and (error := task.exception()):
                _log.error("a send ended early", error=type(error).__name__, where=_where(error))

        task.add_done_callback(done)


def _where(error: BaseException) -> str:
    """Type and place of an error; not its text, which may quote personal data."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else "?"
