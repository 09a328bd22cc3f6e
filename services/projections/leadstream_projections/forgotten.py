"""Leads that trimming has forgotten (`leadstream_events.forgotten_leads`), as counting meets them.

Their events are in the archive, so a count of everything finds them again. Their counters are not wanted back in Redis,
and that they are missing is no drift.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from leadstream_events.forgotten_leads import missing, without_ledger
from leadstream_events.redis_client import Client


async def forgotten(client: Client, partition: int, live: str, leads: Iterable[str]) -> set[str]:
    """Those of these leads that have neither a ledger nor counters below the live generation's key."""
    gone = await without_ledger(client, partition, leads)
    return await missing(client, {lead: f"{live}:{lead}" for lead in gone})


def has_counters(fields: Collection[str]) -> bool:
    """True when some of these fields count something; references to events (`@…`) do not.

    An event of a forgotten lead that is stored later, as its erasure is, leaves a reference behind.
    """
    return any(not name.startswith("@") for name in fields)
