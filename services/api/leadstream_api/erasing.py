"""`DELETE /leads/{id}`: a lead's personal data is erased, in Redis and in this machine's spool, once or more."""

from __future__ import annotations

import re

from litestar import Response, delete

from leadstream_api.access import Scope, Via, current, require
from leadstream_api.context import Services, redis_errors, services_of
from leadstream_api.leads import no_lead
from leadstream_api.problems import Problem
from leadstream_api.queries import EraseQuery, read_query
from leadstream_api.routing import Answer, Incoming, path_value
from leadstream_events import erasure
from leadstream_events.envelope import make_event
from leadstream_events.erasure import IN_THE_CLEAR, By, Erasure
from leadstream_events.errors import Backpressure
from leadstream_events.schemas.events import LeadErased
from leadstream_events.signing import signing_secrets
from leadstream_events.subscribers import utc_now

_LEAD_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def erase_lead(services: Services, lead_id: str, by: By) -> bool:
    """True when Redis knows; False when it was erased in the spool and Redis is told once it is back.

    Raises a 404 for an unknown lead, a 409 for one that is stored in the clear, and `Backpressure` when Redis does not
    answer and the lead is not in the spool.
    """
    if not _LEAD_ID.fullmatch(lead_id):
        raise no_lead()
    now = utc_now()
    told = make_event(LeadErased(by=by.by, reason=by.reason), subject=lead_id, now=now)
    spooled = await services.fallback.erase(told)
    if spooled is Erasure.IN_THE_CLEAR:
        raise Problem(409, "stored-in-the-clear", IN_THE_CLEAR)
    try:
        async with redis_errors(services):
            secrets = await signing_secrets(services.client, services.settings)
            stored = await erasure.erase(services.log, lead_id, by, now, secrets)
    except Backpressure:
        if spooled is Erasure.UNKNOWN:
            raise
        return False
    if stored is Erasure.IN_THE_CLEAR:
        raise Problem(409, "stored-in-the-clear", IN_THE_CLEAR)
    if stored is Erasure.UNKNOWN and spooled is Erasure.UNKNOWN:
        raise no_lead()
    return stored is not Erasure.UNKNOWN


@delete("/leads/{lead_id:str}", status_code=200, guards=[require(Scope.ADMIN)])
async def delete_lead(request: Incoming) -> Answer:
    """204 once it is erased, and again whenever it is asked; 202 while only the spool of this machine knows."""
    services, query = services_of(request), read_query(request, EraseQuery)
    who = current(request)
    by = By("api" if who.via is Via.LOOPBACK else who.name, query.reason)
    known = await erase_lead(services, path_value(request, "lead_id"), by)
    return Response(b"", status_code=204 if known else 202)
