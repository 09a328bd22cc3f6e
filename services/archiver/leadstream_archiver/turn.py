"""Whose turn it is to write to the archive. It saves work and no more: the manifest itself tells two writers apart."""

from __future__ import annotations

from leadstream_events import keys
from leadstream_events.redis_client import Client

TURN_MS = 30_000


async def take(client: Client, name: str) -> bool:
    """Takes the turn, or goes on with it; False while it is another process's. Ends by itself after 30 s."""
    if await client.set(keys.ARCHIVER_TURN, name, nx=True, px=TURN_MS):
        return True
    if await client.get(keys.ARCHIVER_TURN) != name.encode():
        return False
    return bool(await client.pexpire(keys.ARCHIVER_TURN, TURN_MS))


async def give_back(client: Client, name: str) -> None:
    """Lets the next one begin at once."""
    if await client.get(keys.ARCHIVER_TURN) == name.encode():
        await client.delete(keys.ARCHIVER_TURN)
