"""What every request handler works with, made once per process and closed with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from litestar import Request
from redis.exceptions import RedisError

from leadstream_api.fallback.service import Fallback, open_fallback
from leadstream_api.metrics import Metrics
from leadstream_archive.history import History
from leadstream_archive.opening import open_archive
from leadstream_events import keys, logs
from leadstream_events.errors import Backpressure, ConfigurationError, RedisCause
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client, classify, connect
from leadstream_events.redis_mends import MENDS
from leadstream_events.runtime.service import check_partitions
from leadstream_events.settings import Settings
from leadstream_events.subscribers import SubscriberStore
from leadstream_events.tasks import end
from leadstream_events.vault import Vault, sealer_of
from leadstream_events.writer import PipelinedWriter

_READ_TIMEOUT_S = 5.0
_READ_CONNECTIONS = 256
_ASK_AGAIN_S = 1.0
_log = logs.get(__name__)


class Gate:
    """Keeps leads out when they would go to the wrong partition: `refusal` says why, or is None.

    Redis may be down when the API starts, so what it knows of partitions is learned once it answers.
    """

    def __init__(self) -> None:
        self.refusal: str | None = None

    async def learn(self, client: Client, partitions: int) -> None:
        """Asks until Redis has answered once."""
        while True:
            try:
                await check_partitions(client, partitions)
                return
            except ConfigurationError as error:
                self.refusal = str(error)
                _log.error("leads are refused", reason=self.refusal)
                return
            except (RedisError, OSError) as error:
                cause = classify(error)
                name, mend = (cause.cause.value, MENDS.get(cause.cause)) if cause else ("error", None)
                _log.warning("redis cannot take work yet", cause=name, mend=mend)
            await asyncio.sleep(_ASK_AGAIN_S)


@dataclass(frozen=True, slots=True)
class Services:
    """`log` appends under the deadline; `client` reads with more patience."""

    settings: Settings
    client: Client
    log: StreamLog
    subscribers: SubscriberStore
    metrics: Metrics
    gate: Gate
    fallback: Fallback


def services_of(request: Request[Any, Any, Any]) -> Services:
    """The services of the app that got this request."""
    return cast(Services, request.app.state["services"])  # `.services` is looked for in the class first


@asynccontextmanager
async def open_services(settings: Settings, metrics: Metrics) -> AsyncIterator[Services]:
    """Opens clients without dialing: the API starts whether Redis is up or not."""
    # A little longer than the deadline: the writer's caller gives up first and knows why.
    appending = connect(settings.redis, timeout_s=settings.append_deadline + 0.25, max_connections=4)
    reading = connect(settings.redis, timeout_s=_READ_TIMEOUT_S, max_connections=_READ_CONNECTIONS)
    sealer = sealer_of(settings)
    vault, gate = Vault(reading, sealer), Gate()
    learning = asyncio.create_task(gate.learn(reading, settings.partitions), name="learn-partitions")
    try:
        async with PipelinedWriter(appending) as writer:
            deadline_s = settings.append_deadline
            archive = open_archive(settings)
            log = StreamLog(
                reading,
                writer,
                partitions=settings.partitions,
                deadline_s=deadline_s,
                vault=vault,
                older=History(reading, archive) if archive else None,
            )
            async with open_fallback(settings, reading, appending, log, writer, metrics.registry, sealer) as fallback:
                yield Services(settings, reading, log, SubscriberStore(reading), metrics, gate, fallback)
    finally:
        await end(learning)
        await appending.aclose()
        await reading.aclose()


class redis_errors:  # noqa: N801  -- reads as what it does
    """Turns Redis errors inside into `Backpressure`; a WRONGTYPE names the key and the type it should have.

    `more` are (key, type) pairs beside the fixed keys.
    """

    def __init__(self, services: Services, *more: tuple[str, str]) -> None:
        self._services, self._more = services, more

    async def __aenter__(self) -> None:
        """Nothing to prepare."""

    async def __aexit__(self, _: object, error: BaseException | None, trace: object) -> None:
        cause = classify(error) if isinstance(error, RedisError | OSError | Backpressure) else None
        if cause is None:
            return
        if cause.cause is RedisCause.WRONGTYPE and not cause.detail:
            cause = Backpressure(cause.cause, await _wrong_keys(self._services, self._more))
        raise cause from None


def _expected_types(partitions: int) -> list[tuple[str, str]]:
    streams = [(keys.stream(number, name), "stream") for number in range(partitions) for name in keys.STREAMS]
    hashes = [keys.SUBSCRIBER_STATE, keys.SUBSCRIBER_EMAILS, keys.SUPPRESSIONS, keys.META]
    return [*streams, (keys.SUBSCRIBER_EVENTS, "stream"), *((key, "hash") for key in hashes)]


async def _wrong_keys(services: Services, more: Sequence[tuple[str, str]]) -> str:
    """Which keys hold another type than ours: the reply of Redis does not say."""
    expected = [*_expected_types(services.log.partitions), *more]
    try:
        async with services.client.pipeline(transaction=False) as pipe:
            for key, _ in expected:
                pipe.type(key)
            found: list[bytes] = await pipe.execute()
    except (RedisError, OSError):
        return "a key holds another type"
    wrong = [
        f"{key} holds a {actual.decode()}, expected a {kind}"
        for (key, kind), actual in zip(expected, found, strict=True)
        if actual not in (kind.encode(), b"none")
    ]
    return "; ".join(wrong[:3]) or "a key holds another type"
