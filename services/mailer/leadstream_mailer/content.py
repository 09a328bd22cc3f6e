"""The mail of a lead, built once and kept for its other recipients."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from leadstream_events import keys
from leadstream_events.envelope import Event
from leadstream_events.errors import Malformed, Permanent
from leadstream_events.log import Entry, read_entry
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import Kind, LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.sealed import Locked, Sealed
from leadstream_events.schemas.subscriber import MailFormat
from leadstream_events.sealed_leads import needs_key
from leadstream_events.vault import Sealer
from leadstream_mail.build import MailBuilder, PreparedMail

# Leads that were read, and mails that were built: the recipients of one follow each other.
_KEEP, _KEEP_BUILT = 256, 64

Place = tuple[int, str, str]
"""Partition, lead id and entry id of a lead."""


class Erased(Exception):
    """The lead was erased: nothing is to be sent for it."""


class Contents:
    """Builds mails from the leads stream and remembers the latest ones.

    `begin.lua` says of each mail whether its lead was erased, so what is remembered here is never sent after that.
    """

    def __init__(self, client: Client, builder: MailBuilder, sealer: Sealer) -> None:
        self._client, self._builder, self._sealer = client, builder, sealer
        self._kept: OrderedDict[tuple[int, str, str, Kind, MailFormat], PreparedMail] = OrderedDict()
        self._opened: OrderedDict[Place, Event] = OrderedDict()
        self._reading: dict[Place, asyncio.Task[Event]] = {}

    async def of(self, place: Place, kind: Kind, form: MailFormat = MailFormat.HTML) -> PreparedMail:
        """Returns the mail; `Permanent` when its lead is gone or cannot be read, `Erased`, Redis errors as they are."""
        key = (*place, kind, form)
        event = None if key in self._kept else self._opened.get(place) or await self._lead(place)
        if event is not None and key not in self._kept:  # else it was built for another recipient meanwhile
            self._kept[key] = self._builder.build(kind, event.subject, _lead_in(event), event.time, form)
            if len(self._kept) > _KEEP_BUILT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    async def read_ahead(self, places: Sequence[Place]) -> None:
        """Reads the leads of mails that are to be begun, in one round trip at the most.

        One that cannot be read is left to `of`, which says why. Redis errors pass through.
        """
        unknown = [place for place in dict.fromkeys(places) if place not in self._opened]
        for place, entry in zip(unknown, await self._fetch(unknown), strict=True):
            event = entry.event if entry else None
            if event and isinstance(event.data, LeadReceived) and isinstance(event.data.lead, Lead):
                self._opened[place] = event
        while len(self._opened) > _KEEP + len(places):
            self._opened.popitem(last=False)

    def address_of(self, place: Place) -> str:
        """The address of a lead that was read ahead; '' for one that cannot be read."""
        event = self._opened.get(place)
        return _lead_in(event).email if event else ""

    async def _lead(self, place: Place) -> Event:
        """Reads a lead once for all of its mails that are begun at the same time."""
        task = self._reading.get(place)
        if task is None:
            task = self._reading[place] = asyncio.create_task(self._read(place))
            task.add_done_callback(lambda _: self._reading.pop(place, None))
        return await asyncio.shield(task)

    async def _read(self, place: Place) -> Event:
        (entry,) = await self._fetch([place])
        if entry is None:
            raise Permanent("lead_missing", "the lead's entry is not in the stream any more")
        if entry.event is None:
            raise Permanent("lead_unreadable", entry.problem.cause if entry.problem else "")
        return entry.event

    async def _fetch(self, places: Sequence[Place]) -> list[Entry | None]:
        """The leads, opened, each with its key in the same pipeline; None for one that is not there any more."""
        if not places:
            return []
        async with self._client.pipeline(transaction=False) as pipe:
            for partition, lead_id, lead_entry in places:
                pipe.xrange(keys.stream(partition, keys.LEADS), lead_entry, lead_entry)
                pipe.hget(keys.lead_keys(partition), lead_id)
            replies = await pipe.execute()
        out: list[Entry | None] = []
        for (partition, _, _), found, stored in zip(places, replies[::2], replies[1::2], strict=True):
            entry = read_entry(keys.stream(partition, keys.LEADS), *found[0]) if found else None
            out.append(self._open(entry, stored) if entry else None)
        return out

    def _open(self, entry: Entry, stored: bytes | None) -> Entry:
        if entry.event is None or not needs_key(entry.event):
            return entry
        try:
            return replace(entry, event=self._sealer.open(entry.event, stored.decode() if stored else None))
        except Malformed as problem:
            return replace(entry, event=None, problem=problem)


def _lead_in(event: Event) -> Lead:
    if not isinstance(event.data, LeadReceived):
        raise Permanent("lead_unreadable", "not a LeadReceived")
    lead = event.data.lead
    if isinstance(lead, Locked):
        raise Permanent("key_missing", f"its key needs the key-encryption key {lead.kek}")
    if isinstance(lead, Sealed):
        raise Erased
    return lead
