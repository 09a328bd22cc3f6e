"""`/leads`: take one lead, list leads, show one with everything that happened to it."""

from __future__ import annotations

import re

import msgspec
from pydantic import ValidationError

from leadstream_api import limits
from leadstream_api.access import Scope, current, require
from leadstream_api.access.guards import caller_of
from leadstream_api.access.page_fields import from_form, from_json
from leadstream_api.access.shown import shown
from leadstream_api.access.state import access_of
from leadstream_api.access.turnstile import require_person
from leadstream_api.adf import lead_from_adf
from leadstream_api.answers import Ready
from leadstream_api.bodies import FORM, JSON, MULTIPART, is_json, read_body, require_type
from leadstream_api.context import redis_errors, services_of
from leadstream_api.forms import lead_from_fields, multipart_fields, urlencoded_fields
from leadstream_api.ingest import Accepted, Door, accept_lead, idempotency_key, lead_id_of, trace_of
from leadstream_api.problems import Problem, bad_parameters, field_error, field_errors, invalid, problem_of
from leadstream_api.queries import LeadsQuery, Nothing, read_query
from leadstream_api.routing import Answer, Incoming, path_value, post, read
from leadstream_events.schemas.lead import Lead
from leadstream_events.subscribers import utc_now
from leadstream_events.views import lead_page, lead_view
from leadstream_events.views_paging import BadCursor, Window
from leadstream_mail.adf.reading import MEDIA_TYPES as ADF

_LEAD_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def read_lead(request: Incoming) -> tuple[Lead, str | None]:
    """Reads the body as a lead: JSON, a web form or an ADF document, all validated strictly; and Turnstile's token."""
    media, parameters = require_type(request, JSON, FORM, MULTIPART, *ADF)
    body = await read_body(request, limits.LEAD_BYTES)
    key = caller_of(request).key
    if is_json(media):
        body, token = from_json(key, body)
        return Lead.model_validate_json(body, strict=True), token
    if media in ADF:
        return lead_from_adf(body, utc_now()), None
    fields = urlencoded_fields(body) if media == FORM else multipart_fields(body, parameters.get("boundary", ""))
    fields, token = from_form(key, fields)
    form = lead_from_fields(fields)
    try:
        return Lead.model_validate_json(msgspec.json.encode(form.data), strict=True), token
    except ValidationError as error:
        raise invalid(form.relocate(field_errors(error))) from None


async def _sent_by_a_person(request: Incoming, token: str | None, lead_id: str) -> None:
    """Asks last, when nothing else is wrong with the lead: a token is good for one lead."""
    turnstile = access_of(request).turnstile
    if turnstile is not None and (key := caller_of(request).key) is not None and key.publishable:
        verdict = await require_person(turnstile, token, lead_id)
        services_of(request).metrics.turnstile(verdict.value)


@post("/leads", guards=[require(Scope.INGEST)])
async def post_lead(request: Incoming) -> Ready:
    """202: the lead is stored; the answer says where."""
    services = services_of(request)
    try:
        lead_id = lead_id_of(idempotency_key(request.scope), current(request).name)
        lead, token = await read_lead(request)
        await _sent_by_a_person(request, token, lead_id)
    except (Problem, ValidationError) as error:
        services.metrics.refused(Door.SINGLE, problem_of(error).kind)
        raise
    accepted = await accept_lead(
        services, lead, lead_id=lead_id, trace=trace_of(request.scope), door=Door.SINGLE, now=utc_now()
    )
    return _accepted_answer(accepted)


def _accepted_answer(accepted: Accepted) -> Ready:
    location = f"/leads/{accepted.lead_id}"
    headers = [(b"location", location.encode())]
    if accepted.repeated:
        headers.append((b"idempotent-replayed", b"true"))
    # Built by hand: these are ids and enums, and this is the hottest line of the service.
    body = (
        f'{{"lead_id":"{accepted.lead_id}","mode":"{accepted.mode}",'
        f'"durability":"{accepted.durability}","location":"{location}"}}'
    )
    return Ready(202, headers, body.encode())


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
