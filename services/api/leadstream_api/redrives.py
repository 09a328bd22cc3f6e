"""`POST /dead-letters/{id}/redrive`: a given-up mail is sent again, or an entry handed to its group again; once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from leadstream_api.access import Scope, Via, current, require
from leadstream_api.answers import json_answer
from leadstream_api.context import redis_errors, services_of
from leadstream_api.problems import Problem
from leadstream_api.queries import RedriveQuery, read_query
from leadstream_api.routing import Answer, Incoming, path_value, post
from leadstream_events import dead_letters
from leadstream_events.redrive import Redriver
from leadstream_events.redrive_rules import Actor

_ENTRY = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Redriven:
    """The letter is closed. `entry_id` is the new entry of a mail; null where the old entry was delivered again."""

    id: str
    lead_id: str
    entry_id: str | None


@post("/dead-letters/{letter_id:str}/redrive", status_code=200, guards=[require(Scope.ADMIN)])
async def post_redrive(request: Incoming) -> Answer:
    """200 once; 409 for a letter that is closed already, or whose mail could not be sent now, with the mend."""
    services, letter_id = services_of(request), path_value(request, "letter_id")
    query = read_query(request, RedriveQuery)
    if not _ENTRY.fullmatch(letter_id):
        raise Problem(404, "not-found", "There is no dead letter with this id")
    who = current(request)
    actor = Actor("api" if who.via is Via.LOOPBACK else who.name, query.reason)
    async with redis_errors(services):
        found = await dead_letters.find_any(services.log, letter_id)
        if query.partition is not None:
            found = [letter for letter in found if letter.partition == query.partition]
        if len(found) > 1:
            raise Problem(409, "ambiguous", "Several partitions have a letter with this id: add ?partition=")
        if not found:
            raise Problem(409, "already", "There is no open dead letter with this id: it was closed already")
        redriver = Redriver(services.log, lease_s=services.settings.lease)
        done = await redriver.redrive(found[0].partition, letter_id, actor)
    if done.refusal is not None:
        raise Problem(409, done.refusal.value.replace("_", "-"), done.text)
    return json_answer(Redriven(letter_id, done.lead_id, done.entry_id or None))
