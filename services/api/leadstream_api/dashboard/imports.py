"""`/ui/subscribers/import`: subscribers from CSV, a file or pasted, with a report line by line.

Good lines are taken even if others are bad; the same file again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import multipart  # type: ignore[import-untyped]

from leadstream_api.access import Scope, require
from leadstream_api.bodies import MULTIPART, read_body, require_type
from leadstream_api.context import Services, redis_errors, services_of
from leadstream_api.dashboard.pages import page
from leadstream_api.problems import unreadable
from leadstream_api.routing import Answer, Incoming, post, read
from leadstream_events.csv_subscribers import COLUMNS, BadLine, Taken, read_subscribers, store
from leadstream_events.errors import Conflict, LeadstreamError, NotFound
from leadstream_events.subscribers import utc_now

MOST_BYTES = 1024 * 1024
MOST_LINES = 2_000


@read("/ui/subscribers/import", require(Scope.ADMIN), documented=False)
async def get_import(request: Incoming) -> Answer:
    """The form."""
    return await _page(request, [], "")


async def _page(request: Incoming, report: list[Taken], problem: str, text: str = "") -> Answer:
    counts = {kind: sum(item.result == kind for item in report) for kind in ("added", "changed", "unchanged", "bad")}
    return await page(
        request,
        "import.html",
        here="subscribers",
        title="Import subscribers",
        status=422 if problem else 200,
        report=report,
        counts=counts,
        problem=problem,
        columns=COLUMNS,
        text=text,
        most=MOST_LINES,
    )


@post("/ui/subscribers/import", status_code=200, guards=[require(Scope.ADMIN)], include_in_schema=False)
async def post_import(request: Incoming) -> Answer:
    """Takes the lines and says of each what became of it."""
    services = services_of(request)
    _, parameters = require_type(request, MULTIPART)
    parts = _parts(await read_body(request, MOST_BYTES), parameters.get("boundary", ""))
    raw = parts.get("file") or parts.get("text") or b""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return await _page(request, [], f"The file is not UTF-8 (byte {error.start}): save it as UTF-8.")
    lines = text.splitlines(keepends=True)
    if len(lines) > MOST_LINES:
        problem = f"More than {MOST_LINES} lines: use the command line, leadstream subscribers import FILE."
        return await _page(request, [], problem)
    try:
        async with redis_errors(services):
            report = await _take(services, lines)
    except LeadstreamError as error:
        return await _page(request, [], str(error), text)
    return await _page(request, report, "")


async def _take(services: Services, lines: Iterable[str]) -> list[Taken]:
    report = []
    for item in read_subscribers(lines):
        if isinstance(item, BadLine):
            report.append(Taken(item.number, "bad", problem=item.problem))
            continue
        try:
            report.append(await store(services.subscribers, item, utc_now()))
        except (Conflict, NotFound) as error:
            report.append(Taken(item.number, "bad", problem=str(error)))
    return report


def _parts(body: bytes, boundary: str) -> dict[str, bytes]:
    """The parts of a multipart body by name (RFC 7578)."""
    out: dict[str, bytes] = {}
    name = ""
    try:
        parser = multipart.PushMultipartParser(boundary, max_segment_count=10)
        for event in [*parser.parse(body), *parser.parse(b"")]:
            if isinstance(event, multipart.MultipartSegment):
                name = event.name
                out[name] = b""
            elif event is not None:
                out[name] += bytes(event)
    except (multipart.MultipartError, ValueError, LookupError):
        raise unreadable("The multipart body is not well formed") from None
    return out
