"""Leads inside events, sealed and opened: pure. `vault.py` knows where the keys are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import ValidationError

from leadstream_events.envelope import Event
from leadstream_events.errors import Malformed
from leadstream_events.schemas.events import LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.sealed import Locked, Sealed
from leadstream_events.sealing import KeyMissing, KeyRing, new_key, open_sealed, seal, unwrap, wrap


@dataclass(frozen=True, slots=True)
class SealedLead:
    """A LeadReceived as it is to be stored, and its wrapped key; '' when it is stored in the clear."""

    event: Event
    key: str = ""


def seal_lead(event: Event, ring: KeyRing) -> SealedLead:
    """Seals the lead of a LeadReceived under a key of its own. One that is sealed already stays as it is."""
    data = event.data
    if not isinstance(data, LeadReceived) or isinstance(data.lead, Sealed):
        return SealedLead(event)
    key = new_key()
    text = seal(key, event.subject, data.lead.model_dump_json(exclude_defaults=True).encode())
    sealed = LeadReceived(lead=Sealed(sealed=text), mode=data.mode)
    as_stored = Event(event.id, event.type, event.time, event.subject, sealed, event.cause, event.trace)
    return SealedLead(as_stored, wrap(key, event.subject, ring))


def needs_key(event: Event | None) -> bool:
    """True for a LeadReceived whose lead is sealed."""
    return event is not None and isinstance(event.data, LeadReceived) and isinstance(event.data.lead, Sealed)


def open_lead(event: Event, stored: str | None, ring: KeyRing) -> Event:
    """Opens the lead with the key as it is stored.

    Without a key it stays `Sealed`: it was erased. When its key cannot be had here it becomes `Locked`. Raises
    `Malformed` when the sealed text does not fit its key.
    """
    data = event.data
    if not stored or not isinstance(data, LeadReceived) or not isinstance(data.lead, Sealed):
        return event
    try:
        keys = unwrap(stored, event.subject, ring)
    except KeyMissing as error:
        return _with(event, data, Locked(sealed=data.lead.sealed, kek=error.kek))
    if not keys:
        return event
    plain = open_sealed(keys, event.subject, data.lead.sealed)
    try:
        return _with(event, data, Lead.model_validate_json(plain))
    except ValidationError as error:
        places = sorted({".".join(map(str, item["loc"])) or item["type"] for item in error.errors()})
        raise Malformed("bad_data", f"LeadReceived: {', '.join(places[:5])}") from None


def _with(event: Event, data: LeadReceived, lead: Lead | Sealed) -> Event:
    return replace(event, data=data.model_copy(update={"lead": lead}))
