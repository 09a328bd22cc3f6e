"""A delivery: an entry handed to one consumer of one group; and how one is given up as a dead letter."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from leadstream_events import keys
from leadstream_events.effects import Effect, Settlement, append
from leadstream_events.envelope import Event, make_event
from leadstream_events.errors import Malformed
from leadstream_events.log import RawFields, pairs, read_entry
from leadstream_events.schemas.events import EntryDeadLettered


@dataclass(frozen=True, slots=True)
class Delivery:
    """`event` is None when the entry cannot be read; `problem` says why. `fields` is empty when it is gone."""

    partition: int
    stream: str
    entry_id: str
    fields: RawFields
    event: Event | None
    problem: Malformed | None = None
    deliveries: int = 1

    @property
    def place(self) -> tuple[str, str]:
        """What identifies it: stream and entry id."""
        return self.stream, self.entry_id


def make_delivery(partition: int, stream: str, entry_id: bytes, fields: RawFields, deliveries: int = 1) -> Delivery:
    """Reads an entry into a delivery; never raises."""
    if not fields:
        problem = Malformed("lost_trimmed", "the entry was deleted or trimmed while it was pending")
        return Delivery(partition, stream, entry_id.decode(), {}, None, problem, deliveries)
    entry = read_entry(stream, entry_id, fields)
    return Delivery(partition, stream, entry.entry_id, fields, entry.event, entry.problem, deliveries)


Flat = Sequence[bytes]


def read_delivery(partition: int, stream: str, entry_id: bytes, flat: Flat) -> Delivery:
    """Reads an entry as Redis sends it, names and values in turn; never raises."""
    return make_delivery(partition, stream, entry_id, pairs(flat) if flat else {})


class Memory:
    """Remembers what the latest entries say, for several groups of one process that read the same streams.

    An entry is recognised by its event's id and taken from here only if every byte of it is the same. `size`: well
    above what one group reads at once, or groups that follow each other through a backlog find nothing.
    """

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._kept: OrderedDict[bytes, tuple[Flat, Delivery]] = OrderedDict()

    def read_delivery(self, partition: int, stream: str, entry_id: bytes, flat: Flat) -> Delivery:
        """Like the function of this name."""
        key = flat[1] if flat else b""  # every entry of ours begins with the event's id
        seen, kept = self._kept.get(key, (None, None))
        if kept is None or seen != flat:
            kept = read_delivery(partition, stream, entry_id, flat)
            self._kept[key] = flat, kept
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
            return kept
        place = (partition, stream, entry_id.decode())
        if (kept.partition, kept.stream, kept.entry_id) == place:
            return kept
        return Delivery(*place, kept.fields, kept.event, kept.problem)


def _storable(fields: RawFields) -> tuple[dict[str, str], str]:
    try:
        return {name.decode(): value.decode() for name, value in fields.items()}, "utf-8"
    except UnicodeDecodeError:
        encode = base64.b64encode
        return {encode(name).decode(): encode(value).decode() for name, value in fields.items()}, "base64"


def dead_letter(delivery: Delivery, group: str, cause: str, detail: str, now: datetime) -> Effect:
    """The effect that keeps a given-up entry, byte for byte, with its cause."""
    fields, encoding = _storable(delivery.fields)
    event = delivery.event
    data = EntryDeadLettered(
        stream=keys.name_of(delivery.stream),
        entry_id=delivery.entry_id,
        group=group,
        cause=cause,
        detail=detail[:500],
        deliveries=delivery.deliveries,
        email_id=getattr(event.data, "email_id", None) if event else None,
        subscriber_id=getattr(event.data, "subscriber_id", None) if event else None,
        fields=fields,
        encoding=encoding,
    )
    dead = make_event(
        data,
        subject=event.subject if event else "",
        now=now,
        cause=event.id if event else "",
        trace=event.trace if event else "",
    )
    return append(keys.stream(delivery.partition, keys.DEAD), dead)


def give_up(delivery: Delivery, group: str, cause: str, detail: str, now: datetime) -> Settlement:
    """Finishes a delivery as a dead letter."""
    return Settlement(delivery.stream, delivery.entry_id, (dead_letter(delivery, group, cause, detail, now),))
