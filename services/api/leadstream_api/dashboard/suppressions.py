"""`/ui/suppressions`: addresses that get no mail; add one, find one, release one."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, time, timedelta

from pydantic import ValidationError

from leadstream_api.access import Scope, require
from leadstream_api.context import Services, redis_errors, services_of
from leadstream_api.dashboard.pages import form, page, see
from leadstream_api.dashboard.subscribers import problems_of
from leadstream_api.dashboard.viewer import first, shown, viewer_of
from leadstream_api.directory import SuppressionDraft
from leadstream_api.routing import Answer, Incoming, post, read
from leadstream_events import skipped_mails
from leadstream_events.errors import NotFound
from leadstream_events.redrive import Redriver
from leadstream_events.redrive_rules import Actor
from leadstream_events.schemas.subscriber import Suppression
from leadstream_events.subscribers import utc_now

HOME = "/ui/suppressions"
MOST = 200


@read("/ui/suppressions", require(Scope.READ), documented=False)
async def get_suppressions(request: Incoming) -> Answer:
    """The newest suppressions, or those that fit."""
    return await _page(request, dict.fromkeys(("address", "reason", "until"), ""), [])


async def _page(request: Incoming, draft: dict[str, str], errors: list[tuple[str, str]]) -> Answer:
    services, now = services_of(request), utc_now()
    wanted = str(request.query_params.get("q", "")).strip().casefold()[:320]
    async with redis_errors(services):
        every = await services.subscribers.suppressions()
    fitting = [each for each in reversed(every) if not wanted or wanted in each.address.casefold()]
    rows = [each.model_dump(mode="json") | {"in_force": each.holds(now)} for each in fitting[:MOST]]
    if not viewer_of(request).pii:
        wanted = ""
    return await page(
        request,
        "suppressions.html",
        here="suppressions",
        title="Suppressions",
        status=422 if errors else 200,
        rows=shown(request, rows),
        fitting=len(fitting),
        total=len(every),
        q=wanted,
        draft=draft,
        errors=errors,
    )


@post("/ui/suppressions", status_code=200, guards=[require(Scope.ADMIN)], include_in_schema=False)
async def post_suppression(request: Incoming) -> Answer:
    """Suppresses an address, or gives its suppression another reason and end."""
    fields, services, now = await form(request), services_of(request), utc_now()
    draft = {name: first(fields, name) for name in ("address", "reason", "until")}
    try:
        until = date.fromisoformat(draft["until"]) if draft["until"] else None
        expires = datetime.combine(until, time.max, UTC).replace(microsecond=0) if until else None
        if expires and expires <= now:
            raise ValueError("until")
        read_draft = SuppressionDraft(address=draft["address"], reason=draft["reason"] or "manual", expires_at=expires)
    except ValidationError as error:
        return await _page(request, draft, problems_of(error))
    except ValueError:
        return await _page(request, draft, [("until", "must be a day that has not passed, as in 2026-03-28")])
    made = Suppression(address=read_draft.address, reason=read_draft.reason, created_at=now, expires_at=expires)
    async with redis_errors(services):
        await services.subscribers.suppress(made, now)
    return see(HOME, done="suppressed")


@post("/ui/suppressions/release", status_code=200, guards=[require(Scope.ADMIN)], include_in_schema=False)
async def post_release(request: Incoming) -> Answer:
    """Lifts a suppression. An address that is free already stays free."""
    fields, services = await form(request), services_of(request)
    address = first(fields, "address", 320)
    async with redis_errors(services):
        with contextlib.suppress(NotFound):
            await services.subscribers.release(address, viewer_of(request).name, utc_now())
        subscriber = await services.subscribers.by_address(address)
        held = await _held(services, subscriber.id) if subscriber else []
    if subscriber is None or not held:
        return see(HOME, done="released")
    return await page(
        request,
        "held.html",
        here="suppressions",
        title="Send what was held back?",
        subscriber=subscriber,
        held=len(held),
    )


@post("/ui/suppressions/send-held", status_code=200, guards=[require(Scope.ADMIN)], include_in_schema=False)
async def post_send_held(request: Incoming) -> Answer:
    """Has a released subscriber's skipped mails sent, each once."""
    fields, services = await form(request), services_of(request)
    async with redis_errors(services):
        held = await _held(services, first(fields, "subscriber_id", 64))
        redriver = Redriver(services.log, lease_s=services.settings.lease)
        await skipped_mails.send(redriver, held, Actor(viewer_of(request).name, skipped_mails.WHY))
    return see(HOME, done="sent")


async def _held(services: Services, subscriber_id: str) -> list[skipped_mails.SkippedMail]:
    since = utc_now() - timedelta(seconds=skipped_mails.DEFAULT_WITHIN_S)
    return await skipped_mails.find(services.log, subscriber_id, since)
