"""`/health/live`, `/health/ready` and `/metrics`.

Ready means that Redis takes writes, found out by writing: PING answers on a read-only replica and at full memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from litestar import Response

from leadstream_api import limits
from leadstream_api.access import Scope, open_to_all, require
from leadstream_api.answers import json_answer
from leadstream_api.context import Services, redis_errors, services_of
from leadstream_api.fallback.presence import PROBE
from leadstream_api.metrics import CONTENT_TYPE
from leadstream_api.queries import Nothing, read_query
from leadstream_api.routing import Answer, Incoming, read
from leadstream_events import keys, scripts
from leadstream_events.errors import Backpressure, RedisCause
from leadstream_events.subscribers import utc_now


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must work. `cause` is from a closed set when it does not. `leads`: what waits in the spool."""

    status: str
    cause: str | None = None
    detail: str | None = None
    leads: int | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """`ready`, `degraded` (leads are taken, but not by Redis, or Redis alone takes them) or `unavailable`."""

    status: str
    checks: dict[str, Check]


@read("/health/live", open_to_all)
async def get_live(request: Incoming) -> Answer:
    """The process answers."""
    read_query(request, Nothing)
    return json_answer({"status": "ok"})


@read("/health/ready", open_to_all)
async def get_ready(request: Incoming) -> Answer:
    """200 when leads can be taken: `ready` into Redis, `degraded` into the spool alone; 503 with causes otherwise."""
    read_query(request, Nothing)
    answer = await readiness(services_of(request))
    if answer.status == "unavailable":
        return json_answer(answer, 503, {"Retry-After": str(limits.RETRY_AFTER_S)})
    return json_answer(answer, 200)


async def readiness(services: Services) -> Readiness:
    """Finds out whether and where leads can be taken now; never raises for Redis or the disk."""
    redis, spool = await asyncio.gather(_redis_check(services), _spool_check(services))
    status = _status(redis.status == "ok", spool.status == "ok", refused=services.gate.refusal is not None)
    return Readiness(status, {"redis": redis, "spool": spool})


def _status(redis: bool, spool: bool, *, refused: bool) -> str:
    if redis:
        return "ready" if spool else "degraded"
    return "degraded" if spool and not refused else "unavailable"


async def _spool_check(services: Services) -> Check:
    state = await services.fallback.state()
    if state.cause is not None:
        return Check("failed", state.cause, "LEADSTREAM_DATA_DIR cannot be written")
    detail = f"it keeps leads but sends no mail: {state.sends}" if state.sends else None
    return Check("ok", None, detail, state.leads)


async def _redis_check(services: Services) -> Check:
    if services.gate.refusal:
        return Check("failed", "partitions", services.gate.refusal)
    try:
        async with redis_errors(services), asyncio.timeout(services.settings.append_deadline):
            await scripts.run(services.client, PROBE, [keys.META], [utc_now().isoformat()])
            for number in range(services.log.partitions):
                await services.client.xlen(keys.stream(number, keys.LEADS))
    except Backpressure as cause:
        return Check("failed", cause.cause.value, cause.detail or None)
    if (away := services.fallback.presence).away:  # it answers again, and leads still go to the spool
        return Check("failed", (away.cause or RedisCause.DOWN).value, away.detail or None)
    return Check("ok")


@read("/metrics", require(Scope.READ))
async def get_metrics(request: Incoming) -> Answer:
    """Prometheus text."""
    read_query(request, Nothing)
    await services_of(request).fallback.state()  # brings its gauges up to date
    return Response(services_of(request).metrics.text(), media_type=CONTENT_TYPE)
