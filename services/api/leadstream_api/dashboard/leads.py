"""`/ui/leads`: find a lead, and see and mend what became of its mails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from leadstream_api.access import Scope, require
from leadstream_api.context import redis_errors, services_of
from leadstream_api.dashboard.acting import actor_of, redriver_of
from leadstream_api.dashboard.pages import form, page, see
from leadstream_api.dashboard.viewer import shown, viewer_of
from leadstream_api.erasing import erase_lead
from leadstream_api.leads import no_lead
from leadstream_api.problems import Problem
from leadstream_api.routing import Answer, Incoming, path_value, post, read
from leadstream_events.erasure import By
from leadstream_events.masking import mask_address
from leadstream_events.redrive import Done
from leadstream_events.views import lead_page, lead_view
from leadstream_events.views_leads import LeadView
from leadstream_events.views_paging import SCAN, BadCursor, Window

PAGE = 40
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FACTS = (
    ("email", "E-mail"),
    ("phone_number", "Phone"),
    ("address", "Address"),
    ("city", "City"),
    ("state", "State"),
    ("zip_code", "ZIP code"),
    ("birth_date", "Born"),
    ("tickets_past_year", "Tickets, past year"),
    ("accidents_past_year", "Accidents, past year"),
    ("is_homeowner", "Homeowner"),
    ("source", "Source"),
)
_STUCK = ("failed", "held")


@read("/ui/leads", require(Scope.READ), documented=False)
async def get_leads(request: Incoming) -> Answer:
    """The newest leads, or those that fit; an id leads straight to its lead."""
    services = services_of(request)
    asked = {name: str(request.query_params.get(name, "")).strip()[:320] for name in ("q", "state", "since")}
    if _ID.fullmatch(asked["q"].lower()):
        return see(f"/ui/leads/{asked['q'].lower()}")
    errors, since = _since(asked["since"])
    cursor = str(request.query_params.get("cursor", "")) or None
    if asked["q"] and not viewer_of(request).pii:
        errors.append(("Search", "names and addresses need the scope read:pii; an id can always be searched for"))
    text = None if errors else asked["q"] or None
    async with redis_errors(services):
        try:
            found = await lead_page(
                services.log,
                limit=PAGE,
                cursor=cursor,
                state=asked["state"].upper() or None,
                text=text,
                window=Window(since),
            )
        except BadCursor:
            return see("/ui/leads", **asked)
    return await page(
        request,
        "leads.html",
        here="leads",
        title="Leads",
        asked=asked,
        leads=shown(request, found.items),
        cursor=found.next_cursor,
        first=cursor is None,
        scan=SCAN,
        errors=errors,
    )


def _since(text: str) -> tuple[list[tuple[str, str]], datetime | None]:
    try:
        return [], datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC) if text else None
    except ValueError:
        return [("Since", "must be a day written as in 2026-03-28")], None


@read("/ui/leads/{lead_id:str}", require(Scope.READ), documented=False)
async def get_lead(request: Incoming) -> Answer:
    """One lead, each of its mails and each attempt, with what the SMTP server said."""
    services, lead_id = services_of(request), path_value(request, "lead_id")
    if not _ID.fullmatch(lead_id):
        raise no_lead()
    async with redis_errors(services):
        subscribers = await services.subscribers.all()
        view = await lead_view(services.log, lead_id, subscribers)
    if view is None:
        raise no_lead()
    lead = shown(request, view)
    addresses = {each.id: each.email for each in subscribers}
    if not viewer_of(request).pii:
        addresses = {name: mask_address(address) for name, address in addresses.items()}
    return await page(
        request,
        "lead.html",
        here="leads",
        title=lead["lead"]["full_name"] if lead["lead"] else "Erased lead" if view.erased else "Lead",
        lead=lead,
        facts=_facts(lead["lead"] or {}),
        addresses=addresses,
        given_up=_given_up(view),
        stuck=_STUCK,
    )


def _facts(lead: Mapping[str, Any]) -> list[tuple[str, str]]:
    out = []
    for name, label in _FACTS:
        value = lead.get(name)
        if value is not None:
            out.append((label, _text(value)))
    for vehicle in lead.get("vehicles") or ():
        text = f"{vehicle['year']} {vehicle['make']} {vehicle['model']}"
        out.append(("Vehicle", text + (f", VIN {vehicle['vin']}" if vehicle.get("vin") else "")))
    out += [(f"metadata: {name}", _text(value)) for name, value in (lead.get("metadata") or {}).items()]
    return out


def _text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _given_up(view: LeadView) -> dict[str, int]:
    """When each stuck mail was given up, in ms of its outcome's entry id: there its dead letter is found at once."""
    out = {}
    for mail in view.mails:
        for moment in reversed(mail.timeline):
            if moment.event in ("EmailFailed", "EmailOutcomeUnknown"):
                out[mail.email_id] = int(moment.entry_id.partition("-")[0])
                break
    return out


@post(
    "/ui/leads/{lead_id:str}/mails/{email_id:str}/{action:str}",
    status_code=200,
    guards=[require(Scope.ADMIN)],
    include_in_schema=False,
)
async def post_mail(request: Incoming) -> Answer:
    """Sends a stuck mail again, or settles a held one."""
    lead_id, mail, action = (path_value(request, name) for name in ("lead_id", "email_id", "action"))
    fields = await form(request)
    if not (_ID.fullmatch(lead_id) and _ID.fullmatch(mail)):
        raise no_lead()
    services, redriver, actor = services_of(request), redriver_of(request), actor_of(request, fields)
    at_text = fields.get("at", "")
    at_ms = int(at_text) if at_text.isascii() and at_text.isdigit() and len(at_text) < 15 else None
    async with redis_errors(services):
        if action == "resend":
            done = await redriver.resend(lead_id, mail, actor, at_ms=at_ms)
        elif action in ("sent", "not-sent"):
            done = await redriver.settle(lead_id, mail, actor, sent=action == "sent", at_ms=at_ms)
        else:
            raise Problem(404, "not-found", "There is no such action")
    return see(f"/ui/leads/{lead_id}", **outcome(done, "redriven" if action == "resend" else "settled"))


@post("/ui/leads/{lead_id:str}/erase", status_code=200, guards=[require(Scope.ADMIN)], include_in_schema=False)
async def post_erase(request: Incoming) -> Answer:
    """Erases the lead's personal data."""
    lead_id, fields = path_value(request, "lead_id"), await form(request)
    actor = actor_of(request, fields)
    known = await erase_lead(services_of(request), lead_id, By(actor.by, actor.reason))
    return see(f"/ui/leads/{lead_id}" if known else "/ui/leads", done="erased" if known else "erased-spool")


def outcome(done: Done, good: str) -> dict[str, str]:
    """The notice that a finished action leads to."""
    return {"done": "refused", "why": done.refusal.value} if done.refusal else {"done": good}
