"""Erases a lead where this machine can reach it: in its spool, and in Redis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadstream_cli.connection import configured, redis_client, stored_partitions
from leadstream_cli.story import open_log
from leadstream_events import erasure
from leadstream_events.envelope import encode, make_event
from leadstream_events.erasure import IN_THE_CLEAR, By, Erasure
from leadstream_events.errors import LeadstreamError, NotFound
from leadstream_events.redis_client import classify
from leadstream_events.schemas.events import LeadErased
from leadstream_events.sealed_leads import needs_key
from leadstream_events.settings import load_settings
from leadstream_events.signing import signing_secrets
from leadstream_events.subscribers import utc_now

if TYPE_CHECKING:
    from leadstream_events.redrive_rules import Actor


async def erase_everywhere(lead_id: str, actor: Actor) -> dict[str, Any]:
    """What came of it, in the spool and in Redis. `NotFound`, or `LeadstreamError` for a lead stored in the clear.

    While Redis is away a lead in the spool is erased all the same; Redis is told when it is merged.
    """
    by = By(actor.by, actor.reason)
    spooled = await _in_spool(lead_id, by)
    if spooled is Erasure.IN_THE_CLEAR:
        raise LeadstreamError(IN_THE_CLEAR)
    try:
        async with redis_client() as client:
            log = open_log(client, await stored_partitions(client))
            secrets = await signing_secrets(client, load_settings())
            stored = await erasure.erase(log, lead_id, by, utc_now(), secrets)
    except Exception as error:
        if classify(error) is None or spooled is Erasure.UNKNOWN:
            raise
        return {"lead_id": lead_id, "spool": spooled.value, "redis": "not there: told when the spool is merged"}
    if stored is Erasure.IN_THE_CLEAR:
        raise LeadstreamError(IN_THE_CLEAR)
    if stored is Erasure.UNKNOWN and spooled is Erasure.UNKNOWN:
        raise NotFound(f"no lead {lead_id[:64]!r} in Redis or in this machine's spool")
    return {"lead_id": lead_id, "spool": spooled.value, "redis": stored.value}


async def _in_spool(lead_id: str, by: By) -> Erasure:
    from leadstream_api.fallback.rows import FILE
    from leadstream_api.fallback.spool import Spool

    found = configured("data_dir")
    data_dir = Path(found.value if found else "data")
    if not (data_dir / FILE).is_file():
        return Erasure.UNKNOWN
    spool = Spool(data_dir)
    spool.database.start()
    try:
        lead = await spool.lead(lead_id)
        if lead is None:
            return Erasure.UNKNOWN
        if not needs_key(lead.event):
            return Erasure.IN_THE_CLEAR
        if lead.erased is not None:
            return Erasure.ALREADY
        told = make_event(LeadErased(by=by.by, reason=by.reason), subject=lead_id, now=utc_now())
        await spool.erase(lead_id, encode(told))
        return Erasure.ERASED
    finally:
        await spool.database.close()
