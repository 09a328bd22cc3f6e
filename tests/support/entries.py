"""Events, entries and settlements for tests, short to write."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from leadstream_events import keys, scripts
from leadstream_events.effects import Settlement, commit_call
from leadstream_events.envelope import Event, encode, make_event
from leadstream_events.ids import new_id
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import LeadReceived
from leadstream_events.schemas.lead import Lead

LEADS = keys.stream(0, keys.LEADS)
EMAILS = keys.stream(0, keys.EMAILS)
OUTCOMES = keys.stream(0, keys.OUTCOMES)
DEAD = keys.stream(0, keys.DEAD)


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def lead_event(lead_id: str = "", **fields: Any) -> Event:
    """A LeadReceived of a lead with an id of its own."""
    lead = Lead.model_validate({"full_name": "Ada Example", "email": "ada@example.com", "state": "CA"} | fields)
    return make_event(LeadReceived(lead=lead), subject=lead_id or new_id(), now=now())


async def add_lead(client: Client, lead_id: str = "", **fields: Any) -> str:
    """Stores a lead as the log does, without the ledger; returns its entry id."""
    entry_id: bytes = await client.xadd(LEADS, encode(lead_event(lead_id, **fields)))
    return entry_id.decode()


async def pending(client: Client, stream: str, group: str) -> dict[str, tuple[str, int]]:
    """Entry id to (consumer, deliveries) of everything that the group has not finished."""
    found = await client.xpending_range(stream, group, "-", "+", 100_000)
    return {item["message_id"].decode(): (item["consumer"].decode(), item["times_delivered"]) for item in found}


async def commit(client: Client, group: str, consumer: str, *settlements: Settlement) -> list[int]:
    """Runs the verb once; returns its reply."""
    names, args = commit_call(group, consumer, keys.checkpoints(0), settlements)
    reply: list[int] = await scripts.run(client, scripts.COMMIT, names, args)
    return reply
