"""The embedded server: ours alone, tied to its owner, and it loses nothing acknowledged."""

from __future__ import annotations

import redis
from leadstream_cli.embedded import EmbeddedServer
from leadstream_events.settings import Settings

from tests.support.redis_server import RedisServer


def client(server: EmbeddedServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, protocol=2)


async def test_the_shared_server_starts_empty_and_is_ours(raw, redis_server: RedisServer, settings: Settings) -> None:
    assert await raw.dbsize() == 0
    assert (await raw.info("server"))["process_id"] == redis_server.server.pid
    assert settings.redis_url == redis_server.url
    assert settings.rate_limit is None
