"""Erasing a lead: its key is destroyed, so that no copy of its data can be opened any more, wherever it lies.

Beside the sealed data a lead can be named in one other place: a suppression of its own address. That becomes its digest
(`address_digest.py`), and the events that tell the address are deleted. All of it comes before the key is destroyed, so
that an erasure that was cut off is simply asked for again. Redis errors pass through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from leadstream_events import keys, scripts
from leadstream_events.address_digest import digest
from leadstream_events.envelope import flat, make_event
from leadstream_events.errors import Conflict
from leadstream_events.log import Entry, RawFields, StreamLog, read_entry
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import LeadErased, LeadReceived, RecipientReleased, RecipientSuppressed
from leadstream_events.schemas.lead import Lead, address_key
from leadstream_events.schemas.sealed import Locked, Sealed
from leadstream_events.schemas.subscriber import Suppression
from leadstream_events.sealing import ERASED
from leadstream_events.subscribers import SubscriberStore

_PAGE = 1000

IN_THE_CLEAR = (
    "This lead was stored in the clear (encryption was off, or it is older than encryption), so there is no key to "
    "destroy: trim it away instead, once every group has finished it (leadstream trim leads --before, or "
    "LEADSTREAM_RETAIN)"
)


class Erasure(StrEnum):
    """What came of it. `UNKNOWN`: no such lead is stored here; it may still wait in another machine's spool."""

    ERASED = "erased"
    ALREADY = "already"
    UNKNOWN = "unknown"
    IN_THE_CLEAR = "in_the_clear"


@dataclass(frozen=True, slots=True)
class By:
    """Who has it erased, and why; the reason is stored, so it must not name the person."""

    by: str
    reason: str = ""


def is_erased(ledger_field: bytes | None) -> bool:
    """Whether the field `lead` of a ledger says that the lead was erased."""
    return ledger_field is not None and ledger_field.split(b" ")[1:2] == [ERASED.encode()]


def address_in(entry: Entry | None) -> str:
    """The lead's own address, where the entry holds an opened lead; else ''."""
    data = entry.event.data if entry and entry.event else None
    return data.lead.email if isinstance(data, LeadReceived) and isinstance(data.lead, Lead) else ""


async def own_address(log: StreamLog, partition: int, lead_entry: str) -> str:
    """The address of a lead that a mail to itself does not name; '' when it cannot be read."""
    entry = await log.read(keys.stream(partition, keys.LEADS), lead_entry)
    return address_in((await log.opened([entry]))[0]) if entry else ""


async def erase(log: StreamLog, lead_id: str, by: By, now: datetime, secrets: Sequence[bytes]) -> Erasure:
    """Erases one lead. Asking again is safe, and says `ALREADY`. `secrets`: see `signing.py`, for digests.

    Raises `Conflict` for a lead whose key-encryption key is not at hand here.
    """
    partition = log.partition(lead_id)
    noted = await log.client.hget(keys.ledger(partition, lead_id), "lead")
    stream = keys.stream(partition, keys.LEADS)
    entry = await log.read(stream, noted.decode().partition(" ")[0]) if noted else None
    data = entry.event.data if entry and entry.event else None
    if isinstance(data, LeadReceived) and not isinstance(data.lead, Sealed):
        return Erasure.IN_THE_CLEAR
    if entry is not None:
        opened = (await log.opened([entry]))[0]
        if opened.event and isinstance(opened.event.data, LeadReceived) and isinstance(opened.event.data.lead, Locked):
            raise Conflict(
                "its key-encryption key is not at hand, so its address cannot be found in the suppressions: "
                "set LEADSTREAM_ENCRYPTION_KEYS_FILE, then erase it"
            )
        address = address_in(opened)
        if address:
            await hide_address(log.client, address, now, secrets)
    event = make_event(LeadErased(by=by.by, reason=by.reason), subject=lead_id, now=now)
    names = [stream, keys.ledger(partition, lead_id), keys.lead_keys(partition)]
    what, _ = await scripts.run(log.client, scripts.ERASE, names, [lead_id, *flat(event)])
    return {1: Erasure.ERASED, 0: Erasure.ALREADY}.get(int(what), Erasure.UNKNOWN)


async def hide_address(client: Client, address: str, now: datetime, secrets: Sequence[bytes]) -> None:
    """Turns a suppression of this address into its digest, and deletes the events that tell the address."""
    raw = await client.hget(keys.SUPPRESSIONS, address_key(address))
    if raw is not None:
        held = Suppression.model_validate_json(raw)
        hidden = held.model_copy(update={"address": digest(secrets[0], address)})
        await SubscriberStore(client).suppress(hidden, now)
        await client.hdel(keys.SUPPRESSIONS, address_key(address))
    await client.delete(keys.soft_bounces(address_key(address)))
    await _delete_events(client, address)


async def _delete_events(client: Client, address: str) -> None:
    """Events of suppressions only: a subscriber who has the same address keeps his."""
    wanted, position = address_key(address), "-"
    found: list[bytes] = []
    while True:
        page = await client.xrange(keys.SUBSCRIBER_EVENTS, position, count=_PAGE)
        found += [entry_id for entry_id, fields in page if address_key(_told(fields)) == wanted]
        if len(page) < _PAGE:
            break
        position = f"({page[-1][0].decode()}"
    if found:
        names = [keys.SUBSCRIBER_EVENTS, keys.SUBSCRIBER_EVENTS_COPY]
        await scripts.run(client, scripts.EVENTS_FORGET, names, found)


def _told(fields: RawFields) -> str:
    """The address that an event of suppressions tells; '' for any other event."""
    event = read_entry(keys.SUBSCRIBER_EVENTS, b"-", fields).event
    match event.data if event else None:
        case RecipientSuppressed(suppression=suppression):
            return suppression.address
        case RecipientReleased(address=address):
            return address
        case _:
            return ""
