"""The clock of the server: entry ids and deadlines are on it, and ours may be off."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client


async def server_ms(client: Client) -> int:
    """Milliseconds since 1970 (TIME). On its own, and not in a pipeline: a cluster takes no TIME there."""
    seconds, micros = await client.time()
    return int(seconds) * 1000 + int(micros) // 1000
