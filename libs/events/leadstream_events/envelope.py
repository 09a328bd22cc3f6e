"""The envelope of every entry, and its one-to-one map to CloudEvents 1.0.

| entry field | CloudEvents attribute | what |
|---|---|---|
| `id` | `id` | UUIDv7 |
| `type` | `type` (`leadstream.<type>`) | past participle |
| `v` | `dataschema` (`urn:leadstream:<type>:<v>`) | schema version |
| `time` | `time` | RFC 3339, UTC |
| `subject` | `subject` | lead id, or subscriber id |
| `cause` | `causationid` (extension) | id of the event that caused it |
| `trace` | `traceparent` (distributed tracing extension) | W3C Trace Context |
| `data` | `data` | JSON |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from leadstream_events.errors import Malformed
from leadstream_events.ids import new_id
from leadstream_events.schemas.events import EventData
from leadstream_events.schemas.registry import CURRENT, read_data

_REQUIRED = (b"id", b"type", b"v", b"time", b"subject", b"data")


@dataclass(frozen=True, slots=True)
class Event:
    """One event as code sees it. `data` is the newest version of its type."""

    id: str
    type: str
    time: datetime
    subject: str
    data: EventData
    cause: str = ""
    trace: str = ""


def make_event(data: EventData, *, subject: str, now: datetime, cause: str = "", trace: str = "") -> Event:
    """Returns a new event with a fresh id; its type is the name of the data's class."""
    return Event(new_id(), type(data).__name__, now.astimezone(UTC), subject, data, cause, trace)


def rfc3339(value: datetime) -> str:
    """Returns a time as RFC 3339 in UTC with milliseconds."""
    in_utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return in_utc.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def encode(event: Event) -> dict[str, str]:
    """Returns the fields of an entry, in one fixed order so that Redis stores the names once per node."""
    return {
        "id": event.id,
        "type": event.type,
        "v": str(CURRENT[event.type][0]),
        "time": rfc3339(event.time),
        "subject": event.subject,
        "cause": event.cause,
        "trace": event.trace,
        "data": event.data.model_dump_json(exclude_defaults=True),
    }


def flat(event: Event) -> list[str]:
    """Returns `encode(event)` as the flat list that XADD takes."""
    return [part for pair in encode(event).items() for part in pair]


def decode(fields: Mapping[bytes, bytes]) -> Event:
    """Reads an entry; raises `Malformed` and never anything else, whatever the bytes are."""
    missing = [name.decode() for name in _REQUIRED if name not in fields]
    if missing:
        raise Malformed("missing_field", ", ".join(missing))
    try:
        kind, subject = fields[b"type"].decode(), fields[b"subject"].decode()
        event_id, cause = fields[b"id"].decode(), fields.get(b"cause", b"").decode()
        trace, version = fields.get(b"trace", b"").decode(), int(fields[b"v"])
        time = datetime.fromisoformat(fields[b"time"].decode())
        if time.tzinfo is None:
            raise Malformed("bad_envelope", "time has no offset")
        time = time.astimezone(UTC)
    except (UnicodeDecodeError, ValueError, OverflowError):
        raise Malformed("bad_envelope", "a field of the envelope cannot be read") from None
    return Event(event_id, kind, time, subject, read_data(kind, version, fields[b"data"]), cause, trace)
