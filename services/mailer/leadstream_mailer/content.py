"""The mail of a lead, built once and kept for its other recipients."""

from __future__ import annotations

from collections import OrderedDict

from leadstream_events import keys
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

    async def of(self, partition: int, lead_entry: str, kind: Kind) -> PreparedMail:
        """Returns the mail; `Permanent` when its lead is gone or cannot be read, Redis errors as they are."""
        key = (partition, lead_entry, kind)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        stream = keys.stream(partition, keys.LEADS)
        found = await self._client.xrange(stream, lead_entry, lead_entry)
        if not found:
            raise Permanent("lead_missing", "the lead's entry is not in the stream any more")
        entry = read_entry(stream, *found[0])
        if entry.event is None or not isinstance(entry.event.data, LeadReceived):
            raise Permanent("lead_unreadable", entry.problem.cause if entry.problem else "not a LeadReceived")
        mail = self._builder.build(kind, entry.event.subject, entry.event.data.lead, entry.event.time)
        self._kept[key] = mail
        if len(self._kept) > _KEEP:
            self._kept.popitem(last=False)
        return mail
