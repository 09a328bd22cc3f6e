"""Leads that trimming has forgotten: with the lead went its ledger and its counters (`lua/forget.lua`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from leadstream_events import keys
from leadstream_events.redis_client import Client

_PAGE = 1_000


async def without_ledger(client: Client, partition: int, leads: Iterable[str]) -> set[str]:
    """Those of these leads that have no ledger any more (EXISTS)."""
    return await missing(client, {lead: keys.ledger(partition, lead) for lead in leads})


async def missing(client: Client, key_of: Mapping[str, str]) -> set[str]:
    """Those of these names whose key is not there (EXISTS), in pipelines of a thousand."""
    names, out = list(key_of), set()
    for at in range(0, len(names), _PAGE):
        some = names[at : at + _PAGE]
        async with client.pipeline(transaction=False) as pipe:
            for name in some:
                pipe.exists(key_of[name])
            out |= {name for name, there in zip(some, await pipe.execute(), strict=True) if not there}
    return out
