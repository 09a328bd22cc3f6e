"""`/leads`: take one lead, list leads, show one with everything that happened to it."""

from __future__ import annotations

import re

import msgspec
from litestar import Response, post
from pydantic import ValidationError

from leadstream_api import limits
from leadstream_api.access import Scope, current, require
from leadstream_api.access.honeypot import without_honeypot
from leadstream_api.access.shown import shown
from leadstream_api.bodies import FORM, JSON, MULTIPART, is_json, read_body, require_type
from leadstream_api.context import redis_errors, services_of
from leadstream_api.forms import lead_from_fields, multipart_fields, urlencoded_fields
from leadstream_api.ingest import Accepted, Door, accept_lead, idempotency_key, lead_id_of, trace_of
from leadstream_api.problems import Problem, bad_parameters, field_error, field_errors, invalid, problem_of
from leadstream_api.queries import LeadsQuery, Nothing, read_query
from leadstream_api.routing import Answer, Incoming, path_value, read
from leadstream_events.schemas.lead import Lead
from leadstream_events.subscribers import utc_now
from leadstream_events.views import lead_page, lead_view
from leadstream_events.views_paging import BadCursor, Window

_LEAD_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def read_lead(request: Incoming) -> Lead:
    """Reads the body as a lead: JSON or a web form, both validated strictly."""
    media, parameters = require_type(request, JSON, FORM, MULTIPART)
    body = await read_body(request, limits.LEAD_BYTES)
    if is_json(media):
        return Lead.model_validate_json(body, strict=True)
    fields = urlencoded_fields(body) if media == FORM else multipart_fields(body, parameters.get("boundary", ""))
    form = lead_from_fields(without_honeypot(request, fields))
    try:
        return Lead.model_validate_json(msgspec.json.encode(form.data), strict=True)
    except ValidationError as error:
        raise invalid(form.relocate(field_errors(error))) from None


@post("/leads", guards=[require(Scope.INGEST)])
async def post_lead(request: Incoming) -> Answer:
    """202: the lead is stored; the answer says where."""
    services = services_of(request)
    try:
        key = idempotency_key(request.scope)
        lead = await read_lead(request)
    except (Problem, ValidationError) as error:
        services.metrics.refused(Door.SINGLE, problem_of(error).kind)
        raise
    accepted = await accept_lead(
        services,
        lead,
        lead_id=lead_id_of(key, current(request).name),
        trace=trace_of(request.scope),
        door=Door.SINGLE,
        now=utc_now(),
    )
    return _accepted_answer(accepted)


def _accepted_answer(accepted: Accepted) -> Answer:
    location = f"/leads/{accepted.lead_id}"
    headers = {"Location": location}
    if accepted.repeated:
        headers["Idempotent-Replayed"] = "true"
    # Built by hand: these are ids and enums, and this is the hottest line of the service.
    body = (
        f'{{"lead_id":"{accepted.lead_id}","mode":"{accepted.mode.value}",'
        f'"durability":"{accepted.durability.value}","location":"{location}"}}'
    )
    return Response(body.encode(), status_code=202, media_type="application/json", headers=headers)


@read("/leads", require(Scope.READ))
async def get_leads(request: Incoming) -> Answer:
    """A page of leads, newest first."""
    services, query = services_of(request), read_query(request, LeadsQuery)
    async with redis_errors(services):
        try:
            page = await lead_page(
                services.log,
                limit=query.limit,
                cursor=query.cursor,
                state=query.state,
                source=query.source,
                window=Window(query.since, query.until),
            )
        except BadCursor as error:
            raise bad_parameters([field_error(["cursor"], str(error))]) from None
    return shown(request, page)


@read("/leads/{lead_id:str}", require(Scope.READ))
async def get_lead(request: Incoming) -> Answer:
    """One lead with its mails and their attempts."""
    services, lead_id = services_of(request), path_value(request, "lead_id")
    read_query(request, Nothing)
    if not _LEAD_ID.fullmatch(lead_id):
        raise no_lead()
    async with redis_errors(services):
        view = await lead_view(services.log, lead_id, await services.subscribers.all())
    if view is None:
        raise no_lead()
    return shown(request, view)


def no_lead() -> Problem:
    """404 for an id that never was a lead's."""
    return Problem(404, "not-found", "There is no lead with this id")
