"""`/unsubscribe/{token}`: a subscriber ends or pauses his mails, by a click on a page or by RFC 8058.

The token is all that is asked for. GET and HEAD change nothing, since scanners open every link of a mail. Whoever has
no token of ours learns nothing, not even whether an address is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from litestar import Request, Response, Router
from litestar.exceptions import HTTPException

from leadstream_api import limits
from leadstream_api.access import open_to_all
from leadstream_api.access.guards import require_rate
from leadstream_api.access.state import access_of
from leadstream_api.access.throttle import address_of
from leadstream_api.bodies import FORM, MULTIPART, read_body, require_type
from leadstream_api.context import Services, redis_errors, services_of
from leadstream_api.dashboard import assets
from leadstream_api.dashboard.pages import HTML, templates
from leadstream_api.forms import multipart_fields, urlencoded_fields
from leadstream_api.problems import Problem, problem_of
from leadstream_api.routing import Answer, Incoming, path_value, post, read
from leadstream_api.secrets import secrets_of
from leadstream_events.errors import NotFound
from leadstream_events.limits import Rate
from leadstream_events.masking import mask_address
from leadstream_events.schemas.subscriber import Subscriber, Suppression
from leadstream_events.subscribers import utc_now
from leadstream_events.unsubscribe_rules import (
    PAUSES_D,
    USUAL_PAUSE_D,
    Standing,
    Wish,
    can_resume,
    standing,
)
from leadstream_events.unsubscribing import ask, suppression_of
from leadstream_mail import unsubscribe as links

# Wrong tokens of one address, and wishes of one subscriber: others never wait for them.
WRONG_TOKENS = Rate(30, 60_000)
WISHES = Rate(20, 60_000)
# The page stands one step below the root, also behind a proxy that serves us below a path of its own.
_ASSETS = {name: f"..{url}" for name, url in assets.URLS.items()}
_HEADERS = {"X-Robots-Tag": "noindex"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a form says. `one_click`: as RFC 8058 section 3.2 has it."""

    wish: Wish
    days: int
    one_click: bool


@read("/{token:str}", open_to_all)
async def get_unsubscribe(request: Incoming) -> Answer:
    """How it stands with the subscriber's mails, and what he can do."""
    services = services_of(request)
    subscriber_id = await _subscriber_id(request, services)
    async with redis_errors(services):
        subscriber = await _subscriber(services, subscriber_id)
        found = await suppression_of(services.client, subscriber.email) if subscriber else None
    return _page(services, subscriber, found, utc_now())


@post("/{token:str}", status_code=200, guards=[open_to_all])
async def post_unsubscribe(request: Incoming) -> Answer:
    """Does what the form says; the same again changes nothing. One click is answered with a line of text."""
    services = services_of(request)
    subscriber_id = await _subscriber_id(request, services)
    asked = await _read_form(request)
    await require_rate(request, f"unsubscribe:{subscriber_id}", WISHES)
    async with redis_errors(services):
        subscriber = await _subscriber(services, subscriber_id)
        if subscriber is not None:
            via = "one-click" if asked.one_click else "page"
            await ask(services.client, subscriber, asked.wish, via, utc_now(), asked.days)
    if asked.one_click:
        return Response(b"Unsubscribed.\n", media_type="text/plain; charset=utf-8", headers=_HEADERS)
    return Response(b"", status_code=303, headers={"Location": path_value(request, "token")})


async def _subscriber_id(request: Incoming, services: Services) -> str:
    """Whose token it is; 404 for one that we never made, 429 to whoever tries many."""
    token = path_value(request, "token")
    found = links.read(await secrets_of(request, services), token) if len(token) <= limits.KEY_CHARS else None
    if found is None:
        caller = access_of(request).signer.mac("unsubscribe", address_of(request.scope))[:32]
        await require_rate(request, f"unsubscribe:wrong:{caller}", WRONG_TOKENS)
        raise Problem(404, "not-found", "There is no such page. Open the link from the mail once more, as a whole.")
    return found


async def _subscriber(services: Services, subscriber_id: str) -> Subscriber | None:
    try:
        return await services.subscribers.get(subscriber_id)
    except NotFound:  # removed since: he gets no mail anyway
        return None


async def _read_form(request: Incoming) -> Asked:
    media, parameters = require_type(request, FORM, MULTIPART)
    body = await read_body(request, limits.UNSUBSCRIBE_BYTES)
    read_fields = multipart_fields(body, parameters.get("boundary", "")) if media == MULTIPART else None
    fields = dict(urlencoded_fields(body) if read_fields is None else read_fields)
    name, value = links.ONE_CLICK
    if fields.get(name) == value:
        return Asked(Wish.STOP, USUAL_PAUSE_D, one_click=True)
    return _read_choice(fields)


def _read_choice(fields: Mapping[str, str]) -> Asked:
    wish, days = fields.get("wish", ""), fields.get("days", str(USUAL_PAUSE_D))
    if wish not in list(Wish) or days not in map(str, PAUSES_D):
        pauses = ", ".join(map(str, PAUSES_D))
        raise Problem(
            400,
            "unreadable-body",
            f"The form must say List-Unsubscribe=One-Click, or wish={'|'.join(Wish)} and perhaps days={pauses}",
        )
    return Asked(Wish(wish), int(days), one_click=False)


def _page(services: Services, subscriber: Subscriber | None, found: Suppression | None, now: datetime) -> Answer:
    stands = standing(found, now)
    values: dict[str, Any] = {
        "title": "Lead mails",
        "address": mask_address(subscriber.email) if subscriber else None,
        "sender": services.settings.mail_from,
        "standing": stands.value,
        "until": found.expires_at if found and stands is Standing.PAUSED else None,
        "resumable": can_resume(found, now),
        "pauses": PAUSES_D,
        "usual": USUAL_PAUSE_D,
    }
    body = templates().render_template("unsubscribe.html", assets=_ASSETS, **values)
    return Response(body.encode(), media_type=HTML, headers=_HEADERS)


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A page for people; problem+json for whatever does not ask for HTML."""
    problem = problem_of(error)
    if "text/html" not in request.headers.get("accept", ""):
        return problem.response()
    detail = "This cannot be done right now. Please try again in a minute." if problem.status == 503 else problem.detail
    body = templates().render_template(
        "unsubscribe_error.html", assets=_ASSETS, title=HTTPStatus(problem.status).phrase, detail=detail
    )
    return Response(body.encode(), status_code=problem.status, media_type=HTML, headers=problem.headers | _HEADERS)


def routes() -> Router:
    """The routes, made anew for each app: a router belongs to one."""
    return Router(
        path="/unsubscribe",
        route_handlers=[get_unsubscribe, post_unsubscribe],
        exception_handlers={Exception: on_error, HTTPException: on_error},
    )
