"""`/ui/subscribers`: who buys leads, how many are left, and changing both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from leadstream_api.access import Scope, require
from leadstream_api.context import Services, redis_errors, services_of
from leadstream_api.dashboard.pages import form, page, see
from leadstream_api.dashboard.viewer import first, shown, viewer_of
from leadstream_api.problems import field_errors
from leadstream_api.routing import Answer, Incoming, path_value, post, read
from leadstream_events.csv_subscribers import parse_states
from leadstream_events.errors import Conflict
from leadstream_events.schemas.subscriber import MailFormat, Subscriber, SubscriberDraft, SubscriberPatch
from leadstream_events.subscribers import utc_now
from leadstream_events.unsubscribing import silent
from leadstream_events.views_stats import remaining, subscriber_counts

HOME = "/ui/subscribers"
MOST = 200
_FIELDS = ("email", "name", "states", "leads_purchased", "format")


def problems_of(error: ValidationError) -> list[tuple[str, str]]:
    """(field, what is wrong) of each wrong field."""
    return [(item.field or "form", item.message) for item in field_errors(error)]


async def rows_of(services: Services, subscribers: Sequence[Subscriber]) -> list[dict[str, Any]]:
    """Subscribers as the pages show them."""
    if not subscribers:
        return []
    usage = await services.subscribers.usage([each.id for each in subscribers])
    counts = await subscriber_counts(services.log)
    held = await silent(services.client, subscribers, utc_now())
    return [
        each.model_dump(mode="json")
        | {
            "sent": usage[each.id].sent,
            "reserved": usage[each.id].reserved,
            "left": remaining(each, usage[each.id]),
            "last_sent": usage[each.id].last_sent,
            "bounced": counts.get(each.id, {}).get("bounced", 0),
            "failed": counts.get(each.id, {}).get("failed", 0),
            "suppressed": held[each.id].reason if each.id in held else None,
            "suppressed_until": held[each.id].expires_at if each.id in held else None,
        }
        for each in subscribers
    ]


@read("/ui/subscribers", require(Scope.READ), documented=False)
async def get_subscribers(request: Incoming) -> Answer:
    """Every subscriber, or those that fit, up to `MOST` on a page."""
    services = services_of(request)
    wanted = str(request.query_params.get("q", "")).strip().casefold()[:320]
    if not viewer_of(request).pii:
        wanted = ""
    async with redis_errors(services):
        every = await services.subscribers.all()
        fitting = [each for each in every if wanted in each.name.casefold() or wanted in each.email.casefold()]
        rows = await rows_of(services, fitting[:MOST])
    return await page(
        request,
        "subscribers.html",
        here="subscribers",
        title="Subscribers",
        rows=shown(request, rows),
        fitting=len(fitting),
        total=len(every),
        q=wanted,
    )


@read("/ui/subscribers/new", require(Scope.ADMIN), documented=False)
async def get_new(request: Incoming) -> Answer:
    """An empty form."""
    draft = dict.fromkeys(_FIELDS, "") | {"active": True}
    return await page(
        request, "subscriber.html", here="subscribers", title="Add a subscriber", row=None, draft=draft, errors=[]
    )


@post("/ui/subscribers/new", status_code=200, guards=[require(Scope.ADMIN)], include_in_schema=False)
async def post_new(request: Incoming) -> Answer:
    """Adds a subscriber, or shows the form again with what is wrong."""
    fields, services = await form(request), services_of(request)
    try:
        draft = SubscriberDraft(**_values(fields))
        async with redis_errors(services):
            await services.subscribers.add(draft, utc_now())
    except (ValidationError, Conflict) as error:
        return await _again(request, fields, error, None)
    return see(HOME, done="added")


@read("/ui/subscribers/{subscriber_id:str}", require(Scope.READ), documented=False)
async def get_subscriber(request: Incoming) -> Answer:
    """One subscriber: figures, and a form for whoever may change them."""
    row = await _row(request)
    draft = {name: row[name] for name in ("email", "name", "active", "format")}
    draft |= {"states": " ".join(row["states"]), "leads_purchased": row["leads_purchased"]}
    return await page(
        request, "subscriber.html", here="subscribers", title=row["name"], row=row, draft=draft, errors=[]
    )


@post("/ui/subscribers/{subscriber_id:str}", status_code=200, guards=[require(Scope.ADMIN)], include_in_schema=False)
async def post_subscriber(request: Incoming) -> Answer:
    """Changes a subscriber, or shows the form again with what is wrong."""
    fields, services = await form(request), services_of(request)
    try:
        patch = SubscriberPatch(**_values(fields))
        async with redis_errors(services):
            await services.subscribers.change(path_value(request, "subscriber_id"), patch, utc_now())
    except (ValidationError, Conflict) as error:
        return await _again(request, fields, error, await _row(request))
    return see(HOME, done="changed")


@post(
    "/ui/subscribers/{subscriber_id:str}/{action:str}",
    status_code=200,
    guards=[require(Scope.ADMIN)],
    include_in_schema=False,
)
async def post_action(request: Incoming) -> Answer:
    """Activates, deactivates or removes a subscriber."""
    await form(request)
    services, action = services_of(request), path_value(request, "action")
    subscriber_id = path_value(request, "subscriber_id")
    async with redis_errors(services):
        if action == "remove":
            await services.subscribers.remove(subscriber_id, utc_now())
            return see(HOME, done="removed")
        patch = SubscriberPatch(active=action == "activate")
        await services.subscribers.change(subscriber_id, patch, utc_now())
    return see(HOME, done="changed")


async def _row(request: Incoming) -> dict[str, Any]:
    services = services_of(request)
    async with redis_errors(services):
        found = await services.subscribers.get(path_value(request, "subscriber_id"))
        row: dict[str, Any] = shown(request, (await rows_of(services, [found]))[0])
        return row


def _values(fields: Mapping[str, str]) -> dict[str, Any]:
    """The form as a subscriber's fields; a blank limit means none, no states mean all."""
    limit = first(fields, "leads_purchased")
    return {
        "email": first(fields, "email", 320),
        "name": first(fields, "name"),
        "active": fields.get("active") == "on",
        "states": parse_states(first(fields, "states", 1_000)),
        "format": first(fields, "format") or MailFormat.HTML,
        "leads_purchased": (int(limit) if limit.isascii() and limit.isdigit() else limit) if limit else None,
    }


async def _again(
    request: Incoming, fields: Mapping[str, str], error: ValidationError | Conflict, row: dict[str, Any] | None
) -> Answer:
    problems = (
        problems_of(error) if isinstance(error, ValidationError) else [("email", str(error).removeprefix("email: "))]
    )
    draft = {name: first(fields, name) for name in _FIELDS} | {"active": fields.get("active") == "on"}
    title = row["name"] if row else "Add a subscriber"
    status = 422 if isinstance(error, ValidationError) else 409
    return await page(
        request,
        "subscriber.html",
        here="subscribers",
        title=title,
        status=status,
        row=row,
        draft=draft,
        errors=problems,
    )
