"""One entry as one line: a CloudEvent in JSON, from which the same fields come back byte for byte.

The lines are those of `leadstream export --pii`, so that `zstdcat` and `leadstream import` read a segment. What no
CloudEvent can carry (an entry of other fields, bytes that are no UTF-8, data that is no JSON) is a `leadstream.entry`,
whose data holds its fields in base64.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping

import msgspec

from leadstream_events import keys

# Every CloudEvent of ours says so, whoever writes it.
SOURCE = "urn:leadstream"
RAW_TYPE = "leadstream.entry"
_PREFIX = "leadstream."
_SCHEMA = "urn:leadstream:"


class _Line(msgspec.Struct, omit_defaults=True):
    """The attributes of a line, in the order in which they are written; `entryid`, `stream`, `partition` are ours."""

    specversion: str
    id: str
    source: str
    type: str
    entryid: str
    stream: str
    data: msgspec.Raw
    partition: int | None = None
    dataschema: str = ""
    time: str = ""
    subject: str = ""
    causationid: str = ""
    traceparent: str = ""
    datacontenttype: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


RawFields = dict[bytes, bytes]


class BadLine(ValueError):
    """The line was not written by `to_line`."""


def place_of(stream: str) -> tuple[str, int | None]:
    """A stream's short name, and its partition if it belongs to one."""
    if stream == keys.SUBSCRIBER_EVENTS:
        return "subscribers", None
    tag = stream.removeprefix(keys.PREFIX).partition(":")[0].strip("{}")
    return keys.name_of(stream), int(tag) if tag.isdigit() else None


def to_line(stream: str, entry_id: bytes, fields: RawFields) -> bytes:
    """Returns the line without its line feed; `from_line` gives the same fields in the same order."""
    line = _event_line(stream, entry_id, fields)
    if line is not None:
        try:
            if list(from_line(line)[1].items()) == list(fields.items()):
                return line
        except BadLine:
            pass
    return _raw_line(stream, entry_id, fields)


def _event_line(stream: str, entry_id: bytes, fields: Mapping[bytes, bytes]) -> bytes | None:
    data = fields.get(b"data", b"")
    if b"\n" in data or b"\r" in data:
        return None
    name, partition = place_of(stream)
    try:
        kind = fields[b"type"].decode()
        return _encoder.encode(
            _Line(
                specversion="1.0",
                id=fields[b"id"].decode(),
                source=SOURCE,
                type=_PREFIX + kind,
                entryid=entry_id.decode(),
                stream=name,
                partition=partition,
                data=msgspec.Raw(data),
                dataschema=f"{_SCHEMA}{kind}:{fields[b'v'].decode()}",
                time=fields[b"time"].decode(),
                subject=fields[b"subject"].decode(),
                causationid=fields[b"cause"].decode(),
                traceparent=fields[b"trace"].decode(),
                datacontenttype="application/json",
            )
        )
    except (KeyError, UnicodeDecodeError):
        return None


def _raw_line(stream: str, entry_id: bytes, fields: Mapping[bytes, bytes]) -> bytes:
    name, partition = place_of(stream)
    packed = {b64encode(field).decode(): b64encode(value).decode() for field, value in fields.items()}
    return _encoder.encode(
        _Line(
            specversion="1.0",
            id=f"{name}-{entry_id.decode()}",
            source=SOURCE,
            type=RAW_TYPE,
            entryid=entry_id.decode(),
            stream=name,
            partition=partition,
            data=msgspec.Raw(_encoder.encode({"fields": packed})),
        )
    )


def from_line(line: bytes) -> tuple[bytes, RawFields]:
    """Returns entry id and fields; raises `BadLine`."""
    try:
        read = _decoder.decode(line)
        if read.type == RAW_TYPE:
            return read.entryid.encode(), _raw_fields(read.data)
        kind = read.type.removeprefix(_PREFIX)
        return read.entryid.encode(), {
            b"id": read.id.encode(),
            b"type": kind.encode(),
            b"v": read.dataschema.rpartition(":")[2].encode(),
            b"time": read.time.encode(),
            b"subject": read.subject.encode(),
            b"cause": read.causationid.encode(),
            b"trace": read.traceparent.encode(),
            b"data": bytes(read.data),
        }
    except (msgspec.DecodeError, ValueError) as error:
        raise BadLine(f"not a line of an archive ({type(error).__name__})") from None


def _raw_fields(data: msgspec.Raw) -> RawFields:
    try:
        packed: dict[str, str] = msgspec.json.decode(data)["fields"]
        return {b64decode(name, validate=True): b64decode(value, validate=True) for name, value in packed.items()}
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise ValueError(str(error)) from None
