"""Deletes the counters of generations that are not live any more, a bounded number at a time."""

from __future__ import annotations

from leadstream_events import keys
from leadstream_events.redis_client import Client

STEP = 500


async def delete_retired(client: Client, projection: str, partition: int) -> int:
    """Deletes the keys of retired generations (SCAN, UNLINK) and returns how many; killed, it can be called again.

    Readers ask which generation is live before and after they read, so nobody takes a half deleted one for the truth.
    """
    pointers = keys.projection_pointer(partition)
    mark = f"{projection} retired "
    deleted = 0
    for raw in await client.hkeys(pointers):
        name = raw.decode()
        if name.startswith(mark):
            deleted += await _delete_generation(client, keys.projection(partition, projection, int(name[len(mark) :])))
            await client.hdel(pointers, name)
    return deleted


async def _delete_generation(client: Client, key: str) -> int:
    deleted = 0
    waiting: list[bytes] = []
    async for found in client.scan_iter(match=f"{key}*", count=STEP):
        if found == key.encode() or found.startswith(f"{key}:".encode()):
            waiting.append(found)
        if len(waiting) >= STEP:
            deleted += await client.unlink(*waiting)
            waiting = []
    return deleted + (await client.unlink(*waiting) if waiting else 0)
