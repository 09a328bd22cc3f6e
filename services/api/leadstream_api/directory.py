"""`/subscribers` and `/suppressions`: who gets leads, and which addresses get no mail at all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from litestar import delete, patch
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from leadstream_api.access import Scope, require
from leadstream_api.access.shown import shown
from leadstream_api.answers import json_answer
from leadstream_api.bodies import read_model
from leadstream_api.context import Services, redis_errors, services_of
from leadstream_api.problems import Problem, field_error, invalid
from leadstream_api.queries import Nothing, read_query
from leadstream_api.routing import Answer, Incoming, path_value, post, read
from leadstream_events.schemas.lead import Address, Instant, normal_address
from leadstream_events.schemas.subscriber import Subscriber, SubscriberDraft, SubscriberPatch, Suppression
from leadstream_events.subscribers import utc_now
from leadstream_events.text import single_line
from leadstream_events.unsubscribing import silent
from leadstream_events.views_stats import remaining, subscriber_counts

_FIXED = ("email", "name", "active", "format")


class SubscriberView(Subscriber):
    """A subscriber with what is derived: `leads_remaining` is None when he has no limit.

    `suppressed` is why his address gets no mail at present (`unsubscribed`, a bounce, ...), None when it gets mail.
    """

    leads_sent: int
    leads_remaining: int | None
    last_sent: datetime | None
    bounced: int
    suppressed: str | None = None
    suppressed_until: datetime | None = None


class SubscriberList(BaseModel):
    """Every subscriber, oldest first."""

    items: tuple[SubscriberView, ...]


class SuppressionDraft(BaseModel):
    """What a person says of an address that shall get no mail."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Address
    reason: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(single_line)] = "manual"
    expires_at: Instant | None = None


class SuppressionView(Suppression):
    """A suppression; `in_force` is false once it has run out."""

    in_force: bool


class SuppressionList(BaseModel):
    """Every suppression, oldest first."""

    items: tuple[SuppressionView, ...]


async def _views(services: Services, subscribers: Sequence[Subscriber]) -> tuple[SubscriberView, ...]:
    if not subscribers:
        return ()
    usage = await services.subscribers.usage([subscriber.id for subscriber in subscribers])
    counts = await subscriber_counts(services.log)
    held = await silent(services.client, subscribers, utc_now())
    return tuple(
        SubscriberView(
            **subscriber.model_dump(),
            leads_sent=usage[subscriber.id].sent,
            leads_remaining=remaining(subscriber, usage[subscriber.id]),
            last_sent=usage[subscriber.id].last_sent,
            bounced=counts.get(subscriber.id, {}).get("bounced", 0),
            suppressed=held[subscriber.id].reason if subscriber.id in held else None,
            suppressed_until=held[subscriber.id].expires_at if subscriber.id in held else None,
        )
        for subscriber in subscribers
    )


@read("/subscribers", require(Scope.READ))
async def get_subscribers(request: Incoming) -> Answer:
    """Every subscriber."""
    services = services_of(request)
    read_query(request, Nothing)
    async with redis_errors(services):
        return shown(request, SubscriberList(items=await _views(services, await services.subscribers.all())))


@post("/subscribers", guards=[require(Scope.ADMIN)])
async def post_subscriber(request: Incoming) -> Answer:
    """201 with the new subscriber; 409 when the address is another's."""
    services, draft = services_of(request), await read_model(request, SubscriberDraft)
    async with redis_errors(services):
        added = await services.subscribers.add(draft, utc_now())
        (view,) = await _views(services, [added])
    return json_answer(view, 201, {"Location": f"/subscribers/{added.id}"})


@read("/subscribers/{subscriber_id:str}", require(Scope.READ))
async def get_subscriber(request: Incoming) -> Answer:
    """One subscriber."""
    services = services_of(request)
    read_query(request, Nothing)
    async with redis_errors(services):
        (view,) = await _views(services, [await services.subscribers.get(path_value(request, "subscriber_id"))])
    return shown(request, view)


@patch("/subscribers/{subscriber_id:str}", guards=[require(Scope.ADMIN)])
async def patch_subscriber(request: Incoming) -> Answer:
    """Changes the fields that are named (RFC 7396); null takes a limit or the states away."""
    services, change = services_of(request), await read_model(request, SubscriberPatch)
    nulls = [name for name in _FIXED if name in change.model_fields_set and getattr(change, name) is None]
    if nulls:
        raise invalid([field_error([name], "must not be null: a subscriber always has one") for name in nulls])
    if "states" in change.model_fields_set and change.states is None:
        change = change.model_copy(update={"states": ()})
    async with redis_errors(services):
        changed = await services.subscribers.change(path_value(request, "subscriber_id"), change, utc_now())
        (view,) = await _views(services, [changed])
    return json_answer(view)


@delete("/subscribers/{subscriber_id:str}", status_code=204, guards=[require(Scope.ADMIN)])
async def delete_subscriber(request: Incoming) -> None:
    """204; mails already requested are skipped when their turn comes."""
    services = services_of(request)
    async with redis_errors(services):
        await services.subscribers.remove(path_value(request, "subscriber_id"), utc_now())


@read("/suppressions", require(Scope.READ))
async def get_suppressions(request: Incoming) -> Answer:
    """Every suppression."""
    services, now = services_of(request), utc_now()
    read_query(request, Nothing)
    async with redis_errors(services):
        found = await services.subscribers.suppressions()
    return shown(request, SuppressionList(items=tuple(_suppression_view(each, now) for each in found)))


def _suppression_view(suppression: Suppression, now: datetime) -> SuppressionView:
    return SuppressionView(**suppression.model_dump(), in_force=suppression.holds(now))


@post("/suppressions", guards=[require(Scope.ADMIN)])
async def post_suppression(request: Incoming) -> Answer:
    """201; an address that is suppressed already gets the new reason and expiry."""
    services, now = services_of(request), utc_now()
    draft = await read_model(request, SuppressionDraft)
    if draft.expires_at is not None and draft.expires_at <= now:
        raise invalid([field_error(["expires_at"], "must be in the future")])
    suppression = Suppression(
        address=draft.address, reason=draft.reason or "manual", created_at=now, expires_at=draft.expires_at
    )
    async with redis_errors(services):
        await services.subscribers.suppress(suppression, now)
    location = f"/suppressions/{quote(suppression.address, safe='@')}"
    return json_answer(_suppression_view(suppression, now), 201, {"Location": location})


@delete("/suppressions/{address:path}", status_code=204, guards=[require(Scope.ADMIN)])
async def delete_suppression(request: Incoming) -> None:
    """204; 404 when the address is not suppressed. A local part may hold a slash, hence the path parameter."""
    services = services_of(request)
    try:
        normal = normal_address(path_value(request, "address").removeprefix("/"))
    except ValueError:
        raise Problem(404, "not-found", "This address is not suppressed") from None
    async with redis_errors(services):
        await services.subscribers.release(normal, "api", utc_now())
