"""Reads event data of any version that was ever stored.

Old data is upcast step by step to the newest version; data of a future version is `Malformed` with the cause
`future_version`, so it is parked as a dead letter and can be redriven once the code is new enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from pydantic import ValidationError

from leadstream_events.errors import Malformed
from leadstream_events.schemas.events import (
    CommandFinished,
    DeadLetterDropped,
    DeadLetterRedriven,
    EmailBounced,
    EmailComplained,
    EmailDeferred,
    EmailFailed,
    EmailOutcomeUnknown,
    EmailRequested,
    EmailSent,
    EmailSkipped,
    EntriesClaimed,
    EntryDeadLettered,
    EventData,
    GroupMoved,
    GroupRemoved,
    LeadErased,
    LeadReceived,
    MailSettled,
    RecipientReleased,
    RecipientSuppressed,
    RecipientUnsubscribed,
    StreamTrimmed,
    SubscriberAdded,
    SubscriberChanged,
    SubscriberRemoved,
)

JsonObject = dict[str, Any]
Upcaster = Callable[[JsonObject], JsonObject]

# Type name to (version, model). A version rises with every change that older readers cannot take.
CURRENT: dict[str, tuple[int, type[EventData]]] = {
    model.__name__: (1, model)
    for model in (
        LeadReceived,
        LeadErased,
        EmailRequested,
        EmailSent,
        EmailDeferred,
        EmailFailed,
        EmailSkipped,
        EmailOutcomeUnknown,
        EmailBounced,
        EmailComplained,
        SubscriberAdded,
        SubscriberChanged,
        SubscriberRemoved,
        RecipientSuppressed,
        RecipientReleased,
        RecipientUnsubscribed,
        EntryDeadLettered,
        DeadLetterRedriven,
        DeadLetterDropped,
        MailSettled,
        GroupMoved,
        GroupRemoved,
        EntriesClaimed,
        StreamTrimmed,
        CommandFinished,
    )
}
CURRENT |= {"LeadReceived": (2, LeadReceived), "EmailRequested": (2, EmailRequested)}

# (type, version it reads) to the function that returns data of the next version.
UPCASTERS: dict[tuple[str, int], Upcaster] = {
    ("LeadReceived", 1): lambda data: data,  # the lead in the clear, as it still is where encryption is off
    ("EmailRequested", 1): lambda data: data,  # with the recipient's address, always
}


def read_data(
    kind: str,
    version: int,
    raw: bytes,
    current: Mapping[str, tuple[int, type[EventData]]] = CURRENT,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> EventData:
    """Returns the typed data; raises `Malformed` with a cause from a closed set and no personal data."""
    if kind not in current:
        raise Malformed("unknown_type", f"no event type {kind[:64]!r}")
    newest, model = current[kind]
    if version > newest:
        raise Malformed("future_version", f"{kind} v{version}; this code reads up to v{newest}: upgrade, then redrive")
    if version < 1:
        raise Malformed("bad_version", f"{kind} v{version}")
    try:
        if version == newest:
            return model.model_validate_json(raw)
        data: JsonObject = msgspec.json.decode(raw, type=dict[str, Any])
        for step in range(version, newest):
            upcaster = upcasters.get((kind, step))
            if upcaster is None:
                raise Malformed("no_upcaster", f"{kind} v{version}: no step from v{step}")
            data = _upcast(upcaster, data, f"{kind} v{step}")
        return model.model_validate(data)
    except ValidationError as error:
        places = sorted({".".join(map(str, item["loc"])) or item["type"] for item in error.errors()})
        raise Malformed("bad_data", f"{kind}: {', '.join(places[:5])}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Malformed("bad_data", f"{kind}: not JSON") from None


def _upcast(upcaster: Upcaster, data: JsonObject, what: str) -> JsonObject:
    """An upcaster trusts the shape of old data; data of another shape is broken, not a bug."""
    try:
        return upcaster(data)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Malformed("bad_data", f"{what} cannot be upcast: {type(error).__name__}") from error
