"""Stored entries as CloudEvents 1.0 JSON lines, and back, byte for byte. Imports no schema: millions pass through here.

The envelope maps as `leadstream_events.envelope` says; the extensions `stream`, `partition` and `entryid` say where an
entry is stored. An entry that is no event of ours travels as `leadstream.entry`, its fields in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from leadstream_archive.lines import RAW_TYPE, SOURCE
from leadstream_cli.queries import short_name
from leadstream_events.masking import mask

_NAMES = (b"id", b"type", b"v", b"time", b"subject", b"cause", b"trace", b"data")
_OPTIONAL = ((b"cause", "causationid"), (b"trace", "traceparent"))

Fields = Mapping[bytes, bytes]


class NotAnEvent(ValueError):
    """The line is no CloudEvent that `export` could have written; the text says why, without any of its data."""


class _Line(msgspec.Struct):
    id: str
    type: str
    stream: str
    entryid: str
    partition: int | None = None
    time: str = ""
    subject: str = ""
    dataschema: str = ""
    causationid: str = ""
    traceparent: str = ""
    masked: bool = False
    leadkey: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


_READ = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry as it is, or is to be, stored."""

    stream: str
    partition: int | None
    entry_id: str
    event_id: str
    type: str
    subject: str
    fields: Fields
    data: bytes
    lead_key: str = ""


def to_line(
    key: str, partition: int | None, entry_id: str, fields: Fields, *, pii: bool, lead_key: str | None = None
) -> bytes:
    """The entry as one line of JSON, without its end. Unless `pii`, personal data is masked and the line marked.

    `lead_key` is the wrapped key of its sealed lead: an extension that goes along, since without it nobody opens it.
    """
    place: dict[str, Any] = {"stream": short_name(key), "entryid": entry_id}
    if partition is not None:
        place["partition"] = partition
    event = _event(fields)
    if event is None:
        event = {
            "specversion": "1.0",
            "id": f"{short_name(key)}-{entry_id}",
            "source": SOURCE,
            "type": RAW_TYPE,
            "data": {"fields": {_b64(name): _b64(value) if pii else "***" for name, value in fields.items()}},
        }
    elif not pii:
        event["data"] = mask(msgspec.json.decode(event["data"]), "data")
    if not pii:
        place["masked"] = True
    elif lead_key:
        place["leadkey"] = lead_key
    return msgspec.json.encode(event | place)


def _event(fields: Fields) -> dict[str, Any] | None:
    """The attributes of an entry that reads back as it is; None for any other."""
    if tuple(fields) != _NAMES:
        return None
    data = fields.get(b"data", b"")
    try:
        texts = {name: value.decode() for name, value in fields.items() if name != b"data"}
        msgspec.json.decode(data)
        data.decode()
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return None
    if b"\n" in data or b"\r" in data or not texts[b"v"].isdigit():
        return None
    event = {
        "specversion": "1.0",
        "id": texts[b"id"],
        "source": SOURCE,
        "type": f"leadstream.{texts[b'type']}",
        "dataschema": f"urn:leadstream:{texts[b'type']}:{texts[b'v']}",
        "time": texts[b"time"],
        "subject": texts[b"subject"],
        "datacontenttype": "application/json",
    }
    event |= {name: texts[field] for field, name in _OPTIONAL if texts.get(field)}
    return {**event, "data": msgspec.Raw(data)}


def from_line(line: bytes, *, masked: bool = False) -> Stored:
    """Reads a line; `NotAnEvent` says what is wrong with it. One that is masked is refused unless `masked`."""
    try:
        read = _READ.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotAnEvent(str(error)[:120]) from None
    if read.masked and not masked:
        raise NotAnEvent("its personal data is masked: export with --pii what is to be imported")
    if not _is_entry_id(read.entryid):
        raise NotAnEvent("`entryid` is no entry id")
    raw = bytes(read.data)
    fields = _opaque(raw) if read.type == RAW_TYPE else _fields(read, raw)
    return Stored(
        read.stream, read.partition, read.entryid, fields.get(b"id", b"").decode(errors="replace"),
        read.type.removeprefix("leadstream."), read.subject, fields, raw, read.leadkey,
    )  # fmt: skip


def _fields(read: _Line, raw: bytes) -> dict[bytes, bytes]:
    version = read.dataschema.rpartition(":")[2] or "1"
    texts = (read.id, read.type.removeprefix("leadstream."), version, read.time, read.subject)
    values = [*texts, read.causationid, read.traceparent]
    return dict(zip(_NAMES, [*(value.encode() for value in values), raw], strict=True))


def _opaque(raw: bytes) -> dict[bytes, bytes]:
    try:
        found = msgspec.json.decode(raw)["fields"]
        return {base64.b64decode(name): base64.b64decode(value) for name, value in found.items()}
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError, AttributeError):
        raise NotAnEvent("its fields cannot be read") from None


def _is_entry_id(text: str) -> bool:
    ms, dash, sequence = text.partition("-")
    numbers = dash and ms.isascii() and ms.isdigit() and sequence.isascii() and sequence.isdigit()
    return bool(numbers) and int(ms) < 2**64 and int(sequence) < 2**64 and text != "0-0"


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
