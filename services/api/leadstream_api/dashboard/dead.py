"""`/ui/dead-letters`: what was given up, by cause; redrive one or all of a cause, or drop one with a reason."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from leadstream_api.access import Scope, require
from leadstream_api.context import redis_errors, services_of
from leadstream_api.dashboard.acting import actor_of, reason_in, redriver_of
from leadstream_api.dashboard.leads import outcome
from leadstream_api.dashboard.pages import form, page, see
from leadstream_api.dashboard.viewer import shown
from leadstream_api.problems import Problem, field_error, invalid
from leadstream_api.routing import Answer, Incoming, path_value, post, read
from leadstream_events import dead_letters, keys
from leadstream_events.dead_letters import Letter
from leadstream_events.ledger import Row
from leadstream_events.log import StreamLog
from leadstream_events.views_paging import BadCursor, Found, newest_first

PAGE = 50
CHUNK = 200  # redriven by one press: a page must answer
HOME = "/ui/dead-letters"
_ENTRY = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_CAUSE = re.compile(r"[A-Za-z0-9_.:\-]{1,100}")


def of_cause(cause: str) -> Any:
    """True for letters of this cause; an empty one stands for all."""
    return lambda letter: not cause or letter.cause == cause


def cause_in(text: str) -> str:
    """A cause as it stands in an address; '' for anything else."""
    return text if _CAUSE.fullmatch(text) else ""


@read("/ui/dead-letters", require(Scope.READ), documented=False)
async def get_letters(request: Incoming) -> Answer:
    """Counted by cause; with `?cause=` the letters of one cause."""
    services, cause = services_of(request), cause_in(str(request.query_params.get("cause", "")))
    cursor = str(request.query_params.get("cursor", "")) or None
    async with redis_errors(services):
        tally = await dead_letters.tally(services.log, lambda letter: letter.cause)
        try:
            found = await _page(services.log, cause, cursor)
        except BadCursor:
            return see(HOME, cause=cause)
        letters = await _letters(services.log, found)
        names = {each.id: each.name for each in await services.subscribers.all()}
    return await page(
        request,
        "dead_letters.html",
        here="dead",
        title="Dead letters",
        tally=tally,
        cause=cause,
        count=next((kin.count for kin in tally.groups if kin.key == cause), 0),
        letters=shown(request, [_shown(letter, row, names) for letter, row in letters]),
        cursor=found.cursor,
        first=cursor is None,
    )


async def _page(log: StreamLog, cause: str, cursor: str | None) -> Found:
    def keep(entry: Any) -> bool:
        return not cause or dead_letters.read_letter(0, entry).cause == cause

    return await newest_first(log, keys.DEAD, limit=PAGE, cursor=cursor, keep=keep)


async def _letters(log: StreamLog, found: Found) -> list[tuple[Letter, Row | None]]:
    letters = [dead_letters.read_letter(_partition(entry.stream), entry) for entry in found.entries]
    rows = await dead_letters.rows(log, letters)
    return [(letter, rows.get(letter.email_id or "")) for letter in letters]


def _partition(stream: str) -> int:
    """The number between the braces of a stream's key."""
    return int(stream.partition("{")[2].partition("}")[0])


def _shown(letter: Letter, row: Row | None, names: dict[str, str]) -> dict[str, Any]:
    data, request = letter.data, letter.request
    subscriber = request.subscriber_id if request else (data.subscriber_id if data else None)
    return {
        "place": f"{letter.partition}/{letter.entry_id}",
        "time": letter.time,
        "cause": letter.cause,
        "detail": data.detail if data else "",
        "group": letter.group,
        "lead_id": letter.lead_id,
        "kind": request.kind if request else None,
        "to": request.to if request else None,
        "subscriber_id": subscriber,
        "subscriber_name": names.get(subscriber or ""),
        "stream": data.stream if data else "",
        "entry_id": data.entry_id if data else "",
        "attempts": dead_letters.attempts_in_all(letter, row),
        "redrives": request.redrives if request else 0,
        "held": bool(row and row.state.value == "held"),
    }


@read("/ui/dead-letters/redrive", require(Scope.ADMIN), documented=False)
async def get_redrive(request: Incoming) -> Answer:
    """The dry run: how many letters of a cause there are, before anything is done."""
    services, cause = services_of(request), cause_in(str(request.query_params.get("cause", "")))
    async with redis_errors(services):
        tally = await dead_letters.tally(services.log, lambda letter: letter.cause)
    count = sum(kin.count for kin in tally.groups if not cause or kin.key == cause)
    return await page(
        request,
        "dead_letters_redrive.html",
        here="dead",
        title="Redrive",
        cause=cause,
        count=count,
        exact=tally.counted == tally.total,
        chunk=CHUNK,
        limit=services.settings.rate_limit,
    )


@post("/ui/dead-letters/redrive", status_code=200, guards=[require(Scope.ADMIN)], include_in_schema=False)
async def post_redrive(request: Incoming) -> Answer:
    """Redrives up to `CHUNK` letters of a cause, oldest first, each once."""
    fields = await form(request)
    cause, services = cause_in(fields.get("cause", "")), services_of(request)
    async with redis_errors(services):
        redriver, actor = redriver_of(request), actor_of(request, fields)
        done = await redriver.redrive_all(of_cause(cause), actor, limit=CHUNK)
    return see(HOME, done="redriven-all", n=done[None], m=done.total() - done[None], cause=cause)


@post(
    "/ui/dead-letters/{partition:int}/{entry:str}/{action:str}",
    status_code=200,
    guards=[require(Scope.ADMIN)],
    include_in_schema=False,
)
async def post_letter(request: Incoming) -> Answer:
    """Redrives or drops one letter."""
    services, partition = services_of(request), int(path_value(request, "partition"))
    entry, action = path_value(request, "entry"), path_value(request, "action")
    fields = await form(request)
    if not _ENTRY.fullmatch(entry) or not 0 <= partition < services.log.partitions or action not in ("redrive", "drop"):
        raise Problem(404, "not-found", "There is no such dead letter")
    if action == "drop" and not reason_in(fields):
        raise invalid([field_error(["reason"], "must be given: it is kept in the lead's timeline")])
    redriver, actor = redriver_of(request), actor_of(request, fields)
    async with redis_errors(services):
        if action == "redrive":
            result = outcome(await redriver.redrive(partition, entry, actor), "redriven")
        else:
            result = outcome(await redriver.drop(partition, entry, actor), "dropped")
    cause = cause_in(fields.get("cause", ""))
    return see(HOME + (f"?cause={quote(cause)}" if cause else ""), **result)
