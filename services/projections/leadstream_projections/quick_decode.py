"""Reads entries for counting, several times as fast as `envelope.decode`, and never otherwise than it does.

From each event's pydantic model a msgspec struct is made that is at least as strict: the same fields, no others, no
coercion. What it takes, pydantic takes too and reads alike; whatever it refuses, and every event whose model has
validators of its own or fields of other kinds, is left to `decode`, which alone decides what is malformed. So a changed
model needs nothing here. A property test holds the two together over all event types and versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from leadstream_events.envelope import Event, decode
from leadstream_events.schemas.events import EventData
from leadstream_events.schemas.registry import CURRENT

# Beyond it a number could be written in ways that two readers take differently.
_WHOLE = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
_KINDS: dict[Any, Any] = {str: str, bool: bool, int: _WHOLE, datetime: datetime, NoneType: None}


class Counted(msgspec.Struct, gc=False):
    """An event as counting sees it. `data` has the attributes of the event's model."""

    id: str
    type: str
    time: datetime
    subject: str
    data: Any


Reader = Callable[[Mapping[bytes, bytes]], Counted | Event]


def make_reader(
    current: Mapping[str, tuple[int, type[EventData]]] = CURRENT,
    whole: Callable[[Mapping[bytes, bytes]], Event] = decode,
) -> Reader:
    """Returns a function that reads an entry, and raises `Malformed` exactly where `whole` does.

    `whole` reads what the structs do not; it must read by the same registry as `current`.
    """
    quick: dict[bytes, tuple[bytes, str, Callable[[bytes], Any]]] = {}
    for kind, (version, model) in current.items():
        struct = _struct_of(model)
        if struct is not None:
            quick[kind.encode()] = str(version).encode(), kind, msgspec.json.Decoder(struct).decode

    def read(fields: Mapping[bytes, bytes]) -> Counted | Event:
        try:
            version, kind, data_of = quick[fields[b"type"]]
            # Text that is not ASCII may not be UTF-8 either; the trace and the cause are read by nobody here.
            if fields[b"v"] == version and fields.get(b"cause", b"").isascii() and fields.get(b"trace", b"").isascii():
                time = datetime.fromisoformat(fields[b"time"].decode())
                if time.tzinfo is UTC:
                    data = data_of(fields[b"data"])
                    return Counted(fields[b"id"].decode(), kind, time, fields[b"subject"].decode(), data)
        except (KeyError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
            pass
        return whole(fields)

    return read


def _struct_of(model: type[EventData]) -> Any:
    """A struct that takes nothing which the model would not take; None where that cannot be said."""
    if model.model_config != EventData.model_config or _has_validators(model):
        return None
    fields: list[Any] = []
    for name, field in model.model_fields.items():
        kind = None if field.metadata or field.alias or field.validation_alias else _kind_of(field.annotation)
        if kind is None:
            return None
        if field.is_required():
            fields.append((name, kind))
        elif isinstance(field.default, str | int | bool | NoneType):  # what cannot be changed by whoever gets it
            fields.append((name, kind, field.default))
        else:
            return None
    return msgspec.defstruct(model.__name__, fields, forbid_unknown_fields=True, kw_only=True, gc=False)


def _has_validators(model: type[EventData]) -> bool:
    found = model.__pydantic_decorators__
    return bool(found.field_validators or found.model_validators or found.validators or found.root_validators)


def _kind_of(annotation: Any) -> Any:
    if annotation in _KINDS:
        return _KINDS[annotation]
    if get_origin(annotation) in (Union, UnionType):
        return _union_of(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, EventData):
        return _struct_of(annotation)
    return None


def _union_of(arguments: tuple[Any, ...]) -> Any:
    """`X | None`; other unions are left to pydantic."""
    others = [each for each in arguments if each is not NoneType]
    kind = _kind_of(others[0]) if len(others) == 1 and NoneType in arguments else None
    return None if kind is None else kind | None if isinstance(kind, type) else Union[kind, None]  # noqa: UP007
