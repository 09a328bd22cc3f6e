"""Takes one lead in: whatever door it came by, it is appended once, and the answer says where it is.

`accept_lead` is the one place that decides what happens to a valid lead: appended to the stream, or spooled on this
machine's disk while Redis does not take it.
"""

from __future__ import annotations

import hashlib
import re
import time
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from litestar.types import Scope

from leadstream_api import limits
from leadstream_api.context import Services, redis_errors
from leadstream_api.problems import bad_parameters, field_error
from leadstream_api.request_headers import values
from leadstream_events import keys, tracing
from leadstream_events.envelope import Event, make_event
from leadstream_events.errors import Backpressure, Conflict, RedisCause
from leadstream_events.ids import lead_id_for_key, new_id
from leadstream_events.log import Durability
from leadstream_events.schemas.events import LeadReceived
from leadstream_events.schemas.lead import Lead

_KEY = re.compile(rf"[\x21-\x7e]{{1,{limits.KEY_CHARS}}}")
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Door(StrEnum):
    """How a lead came in; stored as the event's mode."""

    SINGLE = "stream"
    BATCH = "batch"


class Mode(StrEnum):
    """Which way an accepted lead takes."""

    STREAM = "stream"
    FALLBACK = "fallback"


class Accepted(NamedTuple):
    """A lead that will not be lost. `repeated`: its idempotency key was answered before, and this is that answer."""

    lead_id: str
    mode: Mode
    durability: Durability
    repeated: bool


def idempotency_key(scope: Scope) -> str | None:
    """Returns the `Idempotency-Key`; 400 when there are several or it is not 1 to 255 visible ASCII characters."""
    sent = values(scope, b"idempotency-key")
    if not sent:
        return None
    if len(sent) > 1 or not _KEY.fullmatch(sent[0]):
        message = f"must be one value of 1 to {limits.KEY_CHARS} visible ASCII characters"
        raise bad_parameters([field_error(["Idempotency-Key"], message)])
    return sent[0]


def trace_of(scope: Scope) -> str:
    """Returns the caller's `traceparent` if it is valid (W3C Trace Context), else ""."""
    sent = values(scope, b"traceparent")
    return sent[0] if len(sent) == 1 and _TRACE.fullmatch(sent[0]) else ""


def lead_id_of(key: str | None, caller: str, line: int | None = None) -> str:
    """The id of a lead: derived from its idempotency key (and its line in a batch), else fresh.

    `caller` is the name of his API key: idempotency keys of one caller never meet those of another.
    """
    if key is None:
        return new_id()
    return lead_id_for_key(caller, key if line is None else f"{key} {line}")


def canonical(lead: Lead) -> Lead:
    """The lead with the parts whose order means nothing in one order."""
    if len(lead.metadata) < 2:
        return lead
    return lead.model_copy(update={"metadata": dict(sorted(lead.metadata.items()))})


def fingerprint(lead: Lead) -> str:
    """Stands for the body under an idempotency key: key order, blanks and defaults spelt out do not matter."""
    text = canonical(lead).model_dump_json(exclude_defaults=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


async def accept_lead(
    services: Services, lead: Lead, *, lead_id: str, trace: str, door: Door, now: datetime
) -> Accepted:
    """Stores a lead, in Redis or else on this machine's disk, and says where it is.

    `trace` is the caller's traceparent, or "". Raises `Conflict` for another body under the same lead id, and
    `Backpressure` when neither takes it: the lead may be stored all the same then, and asking again with the same
    idempotency key is safe.
    """
    began = time.perf_counter()
    try:
        with tracing.first_span("lead accept", trace, lead_id=lead_id, door=door.value) as span:
            data = LeadReceived(lead=lead, mode=door.value)
            event = make_event(data, subject=lead_id, now=now, trace=span.traceparent)
            accepted = await _store(services, event, fingerprint(lead))
            span.set(mode=accepted.mode.value, durability=accepted.durability.value, repeated=accepted.repeated)
    except Conflict:
        services.metrics.refused(door, "conflict")
        raise
    except Backpressure as error:
        services.metrics.refused(door, error.cause.value)
        raise
    if accepted.repeated:
        services.metrics.repeated(door)
    else:
        services.metrics.accepted(door, accepted.mode, time.perf_counter() - began)
    return accepted


async def _store(services: Services, event: Event, mark: str) -> Accepted:
    """A lead that waits in the spool is never appended as well; its merge is what stores it."""
    lead_id, fallback = event.subject, services.fallback
    if services.gate.refusal:
        raise Backpressure(RedisCause.OTHER, services.gate.refusal)
    if await fallback.waits(lead_id, mark):
        return Accepted(lead_id, Mode.FALLBACK, Durability.SPOOLED, True)
    in_doubt = not fallback.presence.away
    if in_doubt:
        try:
            return await _append(services, event, mark)
        except Backpressure as error:
            fallback.presence.refused(error)
    elif fallback.remembers(lead_id, mark):
        return Accepted(lead_id, Mode.STREAM, services.log.last_durability, True)
    new = await fallback.take(event, mark, in_doubt=in_doubt)
    return Accepted(lead_id, Mode.FALLBACK, Durability.SPOOLED, not new)


async def _append(services: Services, event: Event, mark: str) -> Accepted:
    ledger = keys.ledger(services.log.partition(event.subject), event.subject)
    async with redis_errors(services, (ledger, "hash")):
        appended = await services.log.append_lead(event, mark)
    services.fallback.stored(event.subject, mark)
    durability = await services.log.durability()
    return Accepted(event.subject, Mode.STREAM, durability, appended.repeated)
