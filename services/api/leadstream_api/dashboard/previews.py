"""`/ui/previews`: both mails as they would be sent, in a frame that may do nothing."""

from __future__ import annotations

from leadstream_api.access import Scope, require
from leadstream_api.access.headers import CSP
from leadstream_api.context import redis_errors, services_of
from leadstream_api.dashboard.pages import page
from leadstream_api.dashboard.viewer import shown, viewer_of
from leadstream_api.previews import prepared
from leadstream_api.problems import Problem
from leadstream_api.routing import Answer, Incoming, read
from leadstream_events.errors import Permanent
from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.subscriber import MailFormat
from leadstream_events.views import lead_page

_LATEST = 30


@read("/ui/previews", require(Scope.READ), documented=False)
async def get_previews(request: Incoming) -> Answer:
    """The chosen mail of the chosen lead; a made-up lead where none is chosen."""
    services, viewer = services_of(request), viewer_of(request)
    wanted = str(request.query_params.get("kind", ""))
    kind = Kind(wanted) if wanted in list(Kind) else Kind.NOTIFICATION
    written = str(request.query_params.get("format", ""))
    form = MailFormat(written) if written in list(MailFormat) and kind is Kind.NOTIFICATION else MailFormat.HTML
    lead_id = str(request.query_params.get("lead_id", "")).strip() if viewer.pii else ""
    mail, problem = None, ""
    async with redis_errors(services):
        latest = (await lead_page(services.log, limit=_LATEST)).items if viewer.pii else ()
        try:
            mail = await prepared(services, kind, lead_id or None, form)
        except Problem as error:
            problem = error.detail
        except Permanent as error:
            problem = str(error)
    answer = await page(
        request,
        "previews.html",
        here="previews",
        title="Previews",
        kind=kind.value,
        kinds=[each.value for each in Kind],
        form=form.value,
        forms=[each.value for each in MailFormat],
        lead_id=lead_id,
        latest=shown(request, latest),
        mail=mail.rendered if mail else None,
        mail_from=services.settings.mail_from,
        problem=problem,
    )
    answer.headers["Content-Security-Policy"] = f"{CSP}; frame-src 'self'"
    return answer
