"""`/previews/notification` and `/previews/welcome`: a mail as it would be sent, and nothing that it could do.

What visitors typed stands in these pages, so they are answered under a policy that allows no script, no request and
no form, and as a sandboxed document of its own origin, wherever they are opened (CSP level 3, `sandbox`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from litestar import Response

from leadstream_api.access import Scope, current, require
from leadstream_api.context import Services, redis_errors, services_of
from leadstream_api.leads import no_lead
from leadstream_api.problems import Problem
from leadstream_api.queries import NotificationPreviewQuery, PreviewQuery, read_query
from leadstream_api.routing import Answer, Incoming, read
from leadstream_events.errors import Permanent
from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.subscriber import MailFormat
from leadstream_events.subscribers import utc_now
from leadstream_events.views import lead_view
from leadstream_mail.build import MailBuilder, PreparedMail
from leadstream_mail.sample import SAMPLE_ID, SAMPLE_LEAD
from leadstream_mail.templates import Templates

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox"
)
_HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@lru_cache(maxsize=8)
def _templates(folder: Path | None) -> Templates:
    return Templates.load(folder)


async def prepared(
    services: Services, kind: Kind, lead_id: str | None, form: MailFormat = MailFormat.HTML
) -> PreparedMail:
    """Builds the mail as the mailer does; of a made-up lead without an id.

    Raises 404 for an unknown lead, 410 for one whose data is gone, `Permanent` where the template fails on it.
    """
    settings = services.settings
    builder = MailBuilder(_templates(settings.templates_dir), settings.mail_from, settings.public_url)
    if lead_id is None:
        return builder.build(kind, SAMPLE_ID, SAMPLE_LEAD, utc_now(), form)
    view = await lead_view(services.log, lead_id) if _ID.fullmatch(lead_id) else None
    if view is None:
        raise no_lead()
    if view.lead is None or view.received_at is None:
        raise Problem(410, "gone", "The lead's data is not stored any more")
    return builder.build(kind, lead_id, view.lead, view.received_at, form)


async def _preview(request: Incoming, kind: Kind, query: PreviewQuery, form: MailFormat = MailFormat.HTML) -> Answer:
    services = services_of(request)
    if query.lead_id is not None and not current(request).sees_personal_data:
        raise Problem(403, "scope-missing", "A mail of a real lead shows personal data: it needs the scope read:pii")
    async with redis_errors(services):
        try:
            mail = (await prepared(services, kind, query.lead_id, form)).rendered
        except Permanent as error:
            raise Problem(422, "template", f"The template fails on this lead: {error}") from None
    accept = request.headers.get("accept", "")
    if not mail.html or ("text/plain" in accept and "text/html" not in accept):
        return Response(f"Subject: {mail.subject}\n\n{mail.text}".encode(), media_type="text/plain", headers=_HEADERS)
    return Response(mail.html.encode(), media_type="text/html", headers=_HEADERS)


@read("/previews/notification", require(Scope.READ))
async def get_notification(request: Incoming) -> Answer:
    """The mail that subscribers get."""
    query = read_query(request, NotificationPreviewQuery)
    return await _preview(request, Kind.NOTIFICATION, query, query.format)


@read("/previews/welcome", require(Scope.READ))
async def get_welcome(request: Incoming) -> Answer:
    """The mail that the lead gets."""
    return await _preview(request, Kind.WELCOME, read_query(request, PreviewQuery))
