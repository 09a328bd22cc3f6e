"""The fallback of one API process, wired together: what request handlers, health and metrics see of it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from leadstream_api.fallback.database import SpoolUnavailable
from leadstream_api.fallback.limiter import LocalLimiter
from leadstream_api.fallback.merging import Merger
from leadstream_api.fallback.metrics import FallbackMetrics
from leadstream_api.fallback.presence import Presence
from leadstream_api.fallback.sending import Postman
from leadstream_api.fallback.snapshot import SnapshotKeeper
from leadstream_api.fallback.spool import Depth, Spool
from leadstream_api.fallback.verdict import MODE
from leadstream_api.fallback.worker import LOCK_FILE, Worker, WorkLock
from leadstream_events import logs
from leadstream_events.envelope import Event, encode
from leadstream_events.erasure import Erasure
from leadstream_events.errors import Backpressure, ConfigurationError, Conflict, RedisCause
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import LeadReceived
from leadstream_events.sealed_leads import needs_key
from leadstream_events.settings import Settings
from leadstream_events.tasks import end
from leadstream_events.vault import Sealer
from leadstream_events.warm_up import limit_on
from leadstream_events.writer import PipelinedWriter
from leadstream_mail.attempt_rules import rules_of
from leadstream_mail.from_settings import make_builder
from leadstream_mail.marks import Marks
from leadstream_mail.return_path import return_paths
from leadstream_mail.smtp.from_settings import make_pool
from leadstream_mail.smtp.pool import SmtpPool

_REMEMBERED = 10_000
_LAST_SENDS_S = 4.0
_VERSION_AT, _DERIVED = 14, "5"  # where a UUID shows its version (RFC 9562 section 4.2)
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class SpoolState:
    """The spool for health answers. `cause` says why it cannot be written, `sends` why it only keeps leads."""

    leads: int = 0
    oldest_ms: int | None = None
    cause: str | None = None
    sends: str | None = None


class Fallback:
    """Takes leads that Redis does not take. Made by `open_fallback`."""

    def __init__(
        self,
        spool: Spool,
        presence: Presence,
        metrics: FallbackMetrics,
        worker: Worker,
        keeper: SnapshotKeeper,
        sealer: Sealer,
        sends: str | None = None,
    ) -> None:
        self._sealer = sealer
        self._spool, self._metrics, self._worker, self._keeper = spool, metrics, worker, keeper
        self.presence, self.sends = presence, sends
        self._answered: OrderedDict[str, str] = OrderedDict()

    async def waits(self, lead_id: str, fingerprint: str) -> bool:
        """True when this lead, sent before under the same idempotency key, is in the spool; `Conflict` for another
        body. A spool that cannot be read is taken as empty."""
        if not _repeatable(lead_id):
            return False
        try:
            found = await self._spool.find(lead_id)
        except SpoolUnavailable as error:
            _log.error("the spool cannot be read", cause=error.cause)
            return False
        if found is not None and found != fingerprint:
            raise Conflict("the idempotency key was used before with another body")
        return found is not None

    def stored(self, lead_id: str, fingerprint: str) -> None:
        """Redis has this lead: remember it, so that a repetition during an outage is not sent again."""
        self._keeper.appended += 1
        if _repeatable(lead_id):
            self._answered[lead_id] = fingerprint
            if len(self._answered) > _REMEMBERED:
                self._answered.popitem(last=False)

    def remembers(self, lead_id: str, fingerprint: str) -> bool:
        """True when this process saw Redis take this lead; `Conflict` for another body."""
        found = self._answered.get(lead_id)
        if found is not None and found != fingerprint:
            raise Conflict("the idempotency key was used before with another body")
        return found is not None

    async def take(self, event: Event, fingerprint: str, *, in_doubt: bool) -> bool:
        """Stores a lead on this machine's disk, sealed; True when it is new. `Conflict` for another body under its id.

        Raises `Backpressure` when the disk does not take it: then the lead is nowhere, except that an append in doubt
        may have been carried out.
        """
        assert isinstance(event.data, LeadReceived)  # noqa: S101  -- what callers make
        spooled = replace(event, data=event.data.model_copy(update={"mode": MODE}))
        sealed = self._sealer.seal(spooled)
        fields = encode(sealed.event)
        try:
            new = await self._spool.add(event.subject, fingerprint, fields, in_doubt=in_doubt, key=sealed.key)
        except SpoolUnavailable as error:
            self._metrics.refused(error.cause)
            cause = self.presence.cause or RedisCause.DOWN
            raise Backpressure(cause, f"and the spool cannot be written: {error.cause}, {error.detail}") from None
        if new:
            self._metrics.spooled()
        self._worker.wake.set()
        return new

    async def erase(self, event: Event) -> Erasure:
        """Erases a lead that waits in this machine's spool; `event` is its LeadErased, which the merge stores.

        `UNKNOWN` when it is not there. Raises `Backpressure` when the disk does not take it.
        """
        try:
            lead = await self._spool.lead(event.subject)
            if lead is None:
                return Erasure.UNKNOWN
            if not needs_key(lead.event):
                return Erasure.IN_THE_CLEAR
            if lead.erased is None:
                await self._spool.erase(event.subject, encode(event))
        except SpoolUnavailable as error:
            raise Backpressure(self.presence.cause or RedisCause.DOWN, f"the spool: {error.cause}") from None
        self._worker.wake.set()
        return Erasure.ALREADY if lead.erased is not None else Erasure.ERASED

    async def state(self) -> SpoolState:
        """What waits, and what is wrong with the spool; also updates the gauges."""
        self._metrics.away.set(int(self.presence.away))
        try:
            depth: Depth = await self._spool.depth()
        except SpoolUnavailable as error:
            return SpoolState(cause=error.cause, sends=self.sends)
        self._metrics.depth.set(depth.leads)
        self._metrics.oldest.set(0 if depth.oldest_ms is None else max(0.0, time.time() - depth.oldest_ms / 1000))
        return SpoolState(depth.leads, depth.oldest_ms, None, self.sends)


def _repeatable(lead_id: str) -> bool:
    """Only ids derived from an idempotency key ever come again; fresh ones need no look."""
    return lead_id[_VERSION_AT] == _DERIVED


@dataclass(frozen=True, slots=True)
class _Sender:
    pool: SmtpPool | None = None
    postman: Postman | None = None
    refusal: str | None = None


def _sender_of(
    settings: Settings,
    spool: Spool,
    presence: Presence,
    keeper: SnapshotKeeper,
    metrics: FallbackMetrics,
    sealer: Sealer,
) -> _Sender:
    """What sends; with wrong settings leads can still be kept, so they are no reason not to start."""
    try:
        pool = make_pool(settings)
        builder = make_builder(settings)
    except ConfigurationError as error:
        _log.error("no mails can be sent while redis is away", reason=str(error))
        return _Sender(refusal=str(error))
    rules = rules_of(settings)
    postman = Postman(
        spool, pool, builder, rules, sealer, lambda: presence.away, metrics.attempted,
        return_paths=lambda: return_paths(settings, keeper.secrets),
        marks=lambda: Marks(settings, keeper.secrets),
        format_of=keeper.format_of,
    )  # fmt: skip
    return _Sender(pool, postman)


async def _drop_idle(*clients: Client) -> None:
    for item in clients:
        if (connections := getattr(item, "connection_pool", None)) is not None:
            await connections.disconnect(inuse_connections=False)


def _worker_of(
    settings: Settings, spool: Spool, presence: Presence, keeper: SnapshotKeeper, merger: Merger,
    limiter: LocalLimiter, postman: Postman | None, metrics: FallbackMetrics, sealer: Sealer,
) -> Worker:  # fmt: skip
    return Worker(
        spool,
        WorkLock(settings.data_dir / LOCK_FILE),
        presence,
        keeper,
        merger,
        postman,
        limiter,
        rules_of(settings),
        sealer,
        welcome=settings.welcome,
        concurrency=settings.smtp_connections,
        on_merged=metrics.merged,
    )


def _limiter_of(settings: Settings) -> LocalLimiter:
    return LocalLimiter(
        settings.rate_limit,
        settings.rate_limit_domains,
        settings.mx_groups,
        lambda: limit_on(settings.warm_up_start, settings.warm_up, datetime.now(UTC)),
    )


@asynccontextmanager
async def open_fallback(
    settings: Settings,
    client: Client,
    appending: Client,
    log: StreamLog,
    writer: PipelinedWriter,
    registry: CollectorRegistry,
    sealer: Sealer,
) -> AsyncIterator[Fallback]:
    """Starts to work the spool off. `appending` is the client behind `writer`; its connections are dropped when Redis
    is back, since those that an outage left behind would fail at their next use."""
    spool, metrics = Spool(settings.data_dir), FallbackMetrics(registry)
    limiter = _limiter_of(settings)
    keeper = SnapshotKeeper(client, log, spool, limiter, settings)

    async def returned() -> None:
        keeper.forget()
        metrics.reconnects.inc()
        await _drop_idle(client, appending)

    presence = Presence(settings, returned)
    sender = _sender_of(settings, spool, presence, keeper, metrics, sealer)
    merger = Merger(client, log, writer, spool, limiter)
    worker = _worker_of(settings, spool, presence, keeper, merger, limiter, sender.postman, metrics, sealer)
    fallback = Fallback(spool, presence, metrics, worker, keeper, sealer, sends=sender.refusal)
    spool.database.start()
    working = asyncio.create_task(worker.work(), name="spool-worker")
    try:
        yield fallback
    finally:
        await end(working)
        await worker.stop(_LAST_SENDS_S)
        await presence.stop()
        if sender.pool is not None:
            await sender.pool.close()
        await spool.database.close()
