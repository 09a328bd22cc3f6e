"""`/health/live`, `/health/ready` and `/metrics`.

Ready means that Redis takes writes, found out by writing: PING answers on a read-only replica and at full memory.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from litestar import Response

from leadstream_api import limits
from leadstream_api.answers import json_answer
from leadstream_api.context import Services, redis_errors, services_of
from leadstream_api.metrics import CONTENT_TYPE
from leadstream_api.queries import Nothing, read_query
from leadstream_api.routing import Answer, Incoming, read
from leadstream_events import keys, scripts
from leadstream_events.errors import Backpressure
from leadstream_events.scripts import Script
from leadstream_events.subscribers import utc_now

# A write from a script, refused exactly when an append would be. The script is tiny and its key is one we own.
_TEXT = "return redis.call('HSET', KEYS[1], 'probe', ARGV[1])"
_PROBE = Script("probe", _TEXT, hashlib.sha1(_TEXT.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must work. `cause` is from a closed set (`RedisCause`) when it does not."""

    status: str
    cause: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """`ready` when every check is `ok`."""

    status: str
    checks: dict[str, Check]


@read("/health/live")
async def get_live(request: Incoming) -> Answer:
    """The process answers."""
    read_query(request, Nothing)
    return json_answer({"status": "ok"})


@read("/health/ready")
async def get_ready(request: Incoming) -> Answer:
    """200 when leads can be appended; 503 with the cause otherwise."""
    read_query(request, Nothing)
    check = await _redis_check(services_of(request))
    ready = check.status == "ok"
    answer = Readiness("ready" if ready else "unavailable", {"redis": check})
    return json_answer(answer, 200 if ready else 503, None if ready else {"Retry-After": str(limits.RETRY_AFTER_S)})


async def _redis_check(services: Services) -> Check:
    if services.gate.refusal:
        return Check("failed", "partitions", services.gate.refusal)
    try:
        async with redis_errors(services), asyncio.timeout(services.settings.append_deadline):
            await scripts.run(services.client, _PROBE, [keys.META], [utc_now().isoformat()])
            for number in range(services.log.partitions):
                await services.client.xlen(keys.stream(number, keys.LEADS))
    except Backpressure as cause:
        return Check("failed", cause.cause.value, cause.detail or None)
    return Check("ok")


@read("/metrics")
async def get_metrics(request: Incoming) -> Answer:
    """Prometheus text."""
    read_query(request, Nothing)
    return Response(services_of(request).metrics.text(), media_type=CONTENT_TYPE)
