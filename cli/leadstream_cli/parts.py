"""The four services as supervised processes, and how each one shows from outside that it works.

A service with consumers is ready when it said so and its groups are there; the API when it answers that it is.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Awaitable, Callable
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


def _groups_ready(client: Client, partitions: int, service: str) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        from leadstream_events.redis_client import classify

        try:
            for number in range(partitions):
                for group, stream in GROUPS[service]:
                    found = await client.xinfo_groups(keys.stream(number, stream))
                    if group.encode() not in {item["name"] for item in found}:
                        return False
        except Exception as error:  # Redis is away, or nobody has made the stream yet
            if classify(error) is None:
                raise
            return False
        return True

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


async def _at_once() -> bool:
    return True


def make_parts(
    client: Client, partitions: int, api_url: str, *, archiver: bool = False, bounces: bool = False
) -> list[Part]:
    """The services in the order in which they start; `client` is used until the last one is ready."""
    api = Part("api", ("api",), _api_ready(api_url), tells=False)
    workers = [Part(name, (name,), _groups_ready(client, partitions, name)) for name in GROUPS]
    also = [name for name, wanted in (("archiver", archiver), ("bounces", bounces)) if wanted]
    return [api, *workers, *(Part(name, (name,), _at_once) for name in also)]
