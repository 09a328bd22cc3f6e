"""Events as CloudEvents 1.0 in JSON, written and read apart from the code that exports and archives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from leadstream_events.envelope import Event, decode, rfc3339
from leadstream_events.errors import Malformed
from leadstream_events.schemas.registry import CURRENT

SOURCE = "urn:leadstream"


def to_cloudevent(event: Event, *, entry_id: str = "", stream: str = "") -> dict[str, Any]:
    """Returns the event in the JSON event format of CloudEvents 1.0."""
    version = CURRENT[event.type][0]
    out: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": SOURCE,
        "type": f"leadstream.{event.type}",
        "dataschema": f"urn:leadstream:{event.type}:{version}",
        "time": rfc3339(event.time),
        "subject": event.subject,
        "datacontenttype": "application/json",
        "data": event.data.model_dump(mode="json", exclude_defaults=True),
    }
    optional = {"causationid": event.cause, "traceparent": event.trace, "entryid": entry_id, "stream": stream}
    return out | {name: value for name, value in optional.items() if value}


def from_cloudevent(value: Mapping[str, Any]) -> Event:
    """Reads what `to_cloudevent` wrote; raises `Malformed` otherwise."""
    kind = str(value.get("type", "")).removeprefix("leadstream.")
    _, _, version = str(value.get("dataschema", "")).rpartition(":")
    try:
        fields = {
            b"id": str(value["id"]).encode(),
            b"type": kind.encode(),
            b"v": version.encode() or b"1",
            b"time": str(value["time"]).encode(),
            b"subject": str(value["subject"]).encode(),
            b"cause": str(value.get("causationid", "")).encode(),
            b"trace": str(value.get("traceparent", "")).encode(),
            b"data": msgspec.json.encode(value["data"]),
        }
    except (KeyError, TypeError, UnicodeEncodeError) as error:
        raise Malformed("not_a_cloudevent", str(error)[:80]) from None
    return decode(fields)
