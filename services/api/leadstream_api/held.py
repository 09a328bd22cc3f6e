"""`POST /suppressions/send-held`: sends what was skipped while a subscriber's address got no mail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from leadstream_api.access import Scope, Via, current, require
from leadstream_api.answers import json_answer
from leadstream_api.bodies import read_model
from leadstream_api.context import redis_errors, services_of
from leadstream_api.problems import Problem
from leadstream_api.routing import Answer, Incoming, post
from leadstream_events import skipped_mails
from leadstream_events.redrive import Redriver
from leadstream_events.redrive_rules import Actor
from leadstream_events.schemas.lead import Address
from leadstream_events.subscribers import utc_now


class HeldDraft(BaseModel):
    """Whose skipped mails are to be sent, and how far back; `dry_run` only counts them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Address
    within_s: Annotated[float, Field(gt=0, le=366 * 86_400)] = skipped_mails.DEFAULT_WITHIN_S
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class HeldAnswer:
    """`held` were skipped, `requested` are sent again; `refused` says of the others how many and why."""

    held: int
    requested: int
    refused: dict[str, int]


@post("/suppressions/send-held", status_code=200, guards=[require(Scope.ADMIN)])
async def post_send_held(request: Incoming) -> Answer:
    """200: what was skipped while the address got no mail is sent, each mail once; release the address first."""
    services, draft = services_of(request), await read_model(request, HeldDraft)
    who = current(request)
    async with redis_errors(services):
        subscriber = await services.subscribers.by_address(draft.address)
        if subscriber is None:
            raise Problem(404, "not-found", "No subscriber has this address")
        since = utc_now() - timedelta(seconds=draft.within_s)
        held = await skipped_mails.find(services.log, subscriber.id, since)
        if draft.dry_run:
            return json_answer(HeldAnswer(len(held), 0, {}))
        actor = Actor("api" if who.via is Via.LOOPBACK else who.name, skipped_mails.WHY)
        done = await skipped_mails.send(Redriver(services.log, lease_s=services.settings.lease), held, actor)
    refused = {refusal.value: count for refusal, count in done.items() if refusal is not None}
    return json_answer(HeldAnswer(len(held), done[None], refused))
