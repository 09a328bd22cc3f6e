"""The four services as supervised processes, and how each one shows from outside that it works.

A consumer is ready when its group has a consumer that was not there before it was started; the API when it says so
itself. No log line is read for that.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from leadstream_cli.supervisor import Part
from leadstream_events import keys

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client

# Service to its groups, each with one stream whose consumers tell.
PROJECTIONS = tuple(keys.PROJECTION_PREFIX + name for name in ("totals", "subscribers", "leads", "series"))
GROUPS: dict[str, tuple[tuple[str, str], ...]] = {
    "fanout": ((keys.FANOUT, keys.LEADS), (keys.QUOTA, keys.OUTCOMES)),
    "mailer": ((keys.MAILER, keys.EMAILS),),
    "projections": tuple((group, keys.OUTCOMES) for group in PROJECTIONS),
}
_PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Watch:
    """Looks at the consumers of a service's groups."""

    client: Client
    partitions: int

    async def consumers(self, service: str) -> dict[tuple[str, str], frozenset[bytes]]:
        """The names of consumers per stream key and group; none where the group is not there yet."""
        out = {}
        for number in range(self.partitions):
            for group, stream in GROUPS[service]:
                key = keys.stream(number, stream)
                out[key, group] = await self._names(key, group)
        return out

    async def _names(self, key: str, group: str) -> frozenset[bytes]:
        from redis.exceptions import ResponseError

        try:
            return frozenset(item["name"] for item in await self.client.xinfo_consumers(key, group))
        except ResponseError:  # no such key, no such group
            return frozenset()


def _consumer_ready(
    watch: Watch, service: str, before: dict[tuple[str, str], frozenset[bytes]]
) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        from leadstream_events.redis_client import classify

        try:
            now = await watch.consumers(service)
        except Exception as error:
            if classify(error) is None:
                raise
            return False
        parked = keys.PARKED.encode()
        return all(names - before[place] - {parked} for place, names in now.items())

    return ready


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _api_ready(url: str) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        return await asyncio.to_thread(_answers, url)

    return ready


async def make_parts(client: Client, partitions: int, api_url: str) -> list[Part]:
    """The services in the order in which they start; `client` is used until the last one is ready."""
    watch = Watch(client, partitions)
    parts = [Part("api", ("api",), _api_ready(api_url))]
    for service in GROUPS:
        before = await watch.consumers(service)
        parts.append(Part(service, (service,), _consumer_ready(watch, service, before)))
    return parts
