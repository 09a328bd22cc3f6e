"""The domains that are slowed down, in Redis (`lua/slow.lua`)."""

from __future__ import annotations

from collections.abc import Mapping

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.redis_client import Client
from leadstream_events.server_time import server_ms
from leadstream_events.slow_down import FIRST, GAIN, LEAST, OVER, SETTLE_MS, SlowDown


async def read(client: Client) -> tuple[Mapping[str, SlowDown], int]:
    """Every domain or group that is slowed down, and the server's time in ms; Redis errors pass."""
    found, now_ms = await client.hgetall(keys.SLOW), await server_ms(client)
    slowed = {name.decode(): _read_one(value) for name, value in found.items()}
    return {name: one for name, one in slowed.items() if one.rate_at(now_ms) is not None}, now_ms


def _read_one(value: bytes) -> SlowDown:
    rate, _, at_ms = value.decode().partition(" ")
    return SlowDown(float(rate), int(at_ms))


async def note(client: Client, name: str, first: float) -> bool:
    """Halves the rate of a domain or group, `first` being what it gets the first time. False: was done just now."""
    args: list[Argument] = [name, str(max(LEAST, min(FIRST, first))), str(LEAST), str(GAIN), str(OVER), SETTLE_MS]
    return bool(await scripts.run(client, scripts.SLOW, [keys.SLOW], args))
