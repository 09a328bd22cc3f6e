"""Reads what the memory budget needs; a few commands, whatever the streams hold."""

from __future__ import annotations

from typing import Any

from leadstream_events import keys
from leadstream_events.entry_ids import entry_order
from leadstream_events.memory_budget import Load, limit_of, rate_of
from leadstream_events.redis_client import Client
from leadstream_events.server_time import server_ms

_NEWEST = 200


async def read_load(client: Client, partitions: int, retain_s: float | None) -> Load:
    """Memory and rate; of a cluster the memory of its first node, as `doctor` shows it."""
    info: Any = await client.info("memory")
    nested = next(iter(info.values()), None)
    info = nested if isinstance(nested, dict) and "used_memory" in nested else info
    now_ms = await server_ms(client)
    entries, per_s = 0, 0.0
    for partition in range(partitions):
        for stream in keys.STREAMS:
            key = keys.stream(partition, stream)
            entries += int(await client.xlen(key))
            newest = await client.xrevrange(key, count=_NEWEST)
            per_s += rate_of([entry_order(each[0].decode())[0] for each in newest], now_ms)
    return Load(int(info["used_memory"]), limit_of(info), entries, per_s, retain_s)
