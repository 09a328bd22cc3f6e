"""Sealers and opened leads for tests."""

from __future__ import annotations

from pathlib import Path

from leadstream_events.envelope import Event
from leadstream_events.log import RawFields, read_entry
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.vault import KeyFile, Sealer, Vault


def sealer(keys_file: Path | None = None, *, on: bool = True) -> Sealer:
    """Seals, with data keys that are stored unwrapped unless there is a keys file."""
    return Sealer(KeyFile(keys_file), on=on)


async def opened(client: Client, stream: str, entry_id: bytes, fields: RawFields) -> Event:
    """A LeadReceived with its lead opened."""
    (entry,) = await Vault(client, sealer()).open([read_entry(stream, entry_id, fields)])
    assert entry.event
    return entry.event


async def opened_lead(client: Client, stream: str, entry_id: bytes, fields: RawFields) -> Lead:
    """The lead in a LeadReceived."""
    data = (await opened(client, stream, entry_id, fields)).data
    assert isinstance(data, LeadReceived) and isinstance(data.lead, Lead)
    return data.lead
