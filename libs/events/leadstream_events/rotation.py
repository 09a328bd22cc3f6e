"""Rewraps the keys of all leads by the newest key-encryption key; no lead itself is touched.

A rotation that was cut off is simply run again: what is wrapped by the newest key already is left alone. Services go on
meanwhile; each reads its keys file again when it meets a key that it does not know. Redis errors pass through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.redis_client import Client
from leadstream_events.sealing import ERASED, KeyMissing, KeyRing, rewrap, wrapped_by

_PAGE = 500

Page = list[tuple[str, str]]


@dataclass
class Wrapped:
    """Keys of leads by what wraps them: the id of a key-encryption key, `-` for none. `erased` leads have no key."""

    by: Counter[str] = field(default_factory=Counter)
    erased: int = 0


@dataclass
class Rotated:
    """What a rotation did. `missing` counts keys that stayed, by the key-encryption key that is not in the file."""

    done: int = 0
    current: int = 0
    missing: Counter[str] = field(default_factory=Counter)


async def _pages(client: Client, partition: int) -> AsyncIterator[Page]:
    cursor = 0
    while True:
        cursor, found = await client.hscan(keys.lead_keys(partition), cursor, count=_PAGE)
        yield [(name.decode(), value.decode()) for name, value in found.items()]
        if int(cursor) == 0:
            return


async def wrapped(client: Client, partitions: int) -> Wrapped:
    """Counts the keys of leads. While leads come in, one may be counted twice or not at all (HSCAN)."""
    out = Wrapped()
    for partition in range(partitions):
        async for page in _pages(client, partition):
            for _, stored in page:
                out.erased += stored == ERASED
                out.by.update(set(wrapped_by(stored)))
    return out


async def rotate(client: Client, partitions: int, ring: KeyRing) -> AsyncIterator[Rotated]:
    """Rewraps page by page and yields what was done so far. A key that was erased meanwhile stays erased."""
    out = Rotated()
    for partition in range(partitions):
        async for page in _pages(client, partition):
            args: list[Argument] = []
            for lead_id, stored in page:
                if set(wrapped_by(stored)) <= {ring.newest}:
                    out.current += 1
                    continue
                try:
                    args += (lead_id, stored, rewrap(stored, lead_id, ring))
                except KeyMissing as error:
                    out.missing[error.kek] += 1
            if args:
                out.done += int(await scripts.run(client, scripts.REWRAP, [keys.lead_keys(partition)], args))
            yield out
