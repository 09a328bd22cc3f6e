"""The mail of a lead, built once and kept for its other recipients."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from leadstream_events import keys
from leadstream_events.envelope import Event
from leadstream_events.errors import Permanent
from leadstream_events.log import read_entry
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import Kind, LeadReceived
from leadstream_mail.build import MailBuilder, PreparedMail

_KEEP = 256


class Contents:
    """Builds mails from the leads stream and remembers the latest ones."""

    def __init__(self, client: Client, builder: MailBuilder) -> None:
        self._client, self._builder = client, builder
        self._kept: OrderedDict[tuple[int, str, Kind], PreparedMail] = OrderedDict()
        self._reading: dict[tuple[int, str], asyncio.Task[Event]] = {}

    async def of(self, partition: int, lead_entry: str, kind: Kind) -> PreparedMail:
        """Returns the mail; `Permanent` when its lead is gone or cannot be read, Redis errors as they are."""
        key = (partition, lead_entry, kind)
        event = None if key in self._kept else await self._lead(partition, lead_entry)
        if event is not None and key not in self._kept:  # else it was built for another recipient meanwhile
            if not isinstance(event.data, LeadReceived):
                raise Permanent("lead_unreadable", "not a LeadReceived")
            self._kept[key] = self._builder.build(kind, event.subject, event.data.lead, event.time)
            if len(self._kept) > _KEEP:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    async def _lead(self, partition: int, lead_entry: str) -> Event:
        """Reads a lead once for all of its mails that are begun at the same time."""
        place = (partition, lead_entry)
        task = self._reading.get(place)
        if task is None:
            task = self._reading[place] = asyncio.create_task(self._read(*place))
            task.add_done_callback(lambda _: self._reading.pop(place, None))
        return await asyncio.shield(task)

    async def _read(self, partition: int, lead_entry: str) -> Event:
        stream = keys.stream(partition, keys.LEADS)
        found = await self._client.xrange(stream, lead_entry, lead_entry)
        if not found:
            raise Permanent("lead_missing", "the lead's entry is not in the stream any more")
        entry = read_entry(stream, *found[0])
        if entry.event is None:
            raise Permanent("lead_unreadable", entry.problem.cause if entry.problem else "")
        return entry.event
