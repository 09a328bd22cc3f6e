"""`POST /leads/batch`: many leads as NDJSON, one result per line in the order of the lines.

Good lines are taken whatever becomes of the others. With an `Idempotency-Key` each line has a key of its own (the
key and the line's number), so that a repeated batch stores nothing twice. Should Redis fail midway, the lines from
there on answer 503, and repeating the batch under the same key is safe.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from litestar import Response
from pydantic import ValidationError

from leadstream_api import limits
from leadstream_api.access import Scope, current, require
from leadstream_api.answers import encode
from leadstream_api.bodies import NDJSON, read_body, require_type
from leadstream_api.context import Services, services_of
from leadstream_api.ingest import Door, accept_lead, idempotency_key, lead_id_of, trace_of
from leadstream_api.problems import FieldError, Problem, problem_of, unavailable, unreadable
from leadstream_api.routing import Answer, Incoming, post
from leadstream_events.errors import Backpressure, LeadstreamError
from leadstream_events.schemas.lead import Lead
from leadstream_events.subscribers import utc_now

_BLANK = b" \t\r"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank, with its number from 1."""

    number: int
    text: bytes


@dataclass(frozen=True, slots=True)
class LineTaken:
    """The lead of this line is stored."""

    line: int
    lead_id: str
    mode: str
    durability: str
    repeated: bool
    status: int = 202


@dataclass(frozen=True, slots=True)
class LineRefused:
    """This line was not taken; `status` is what a single POST would have answered."""

    line: int
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True, slots=True)
class _Batch:
    services: Services
    key: str | None
    caller: str
    trace: str

    async def take(self, line: Line) -> LineTaken | LineRefused | Backpressure:
        """Takes one line in; a `Backpressure` is handed back, since it concerns the lines after it too."""
        try:
            lead = _read_line(line)
            accepted = await accept_lead(
                self.services,
                lead,
                lead_id=lead_id_of(self.key, self.caller, line.number),
                trace=self.trace,
                door=Door.BATCH,
                now=utc_now(),
            )
        except Backpressure as cause:
            return cause
        except (Problem, ValidationError, LeadstreamError) as error:
            problem = problem_of(error)
            if problem.status != 409:  # a conflict is counted where it is found
                self.services.metrics.refused(Door.BATCH, problem.kind)
            return LineRefused(line.number, problem.status, problem.detail, problem.errors)
        return LineTaken(
            line.number, accepted.lead_id, accepted.mode.value, accepted.durability.value, accepted.repeated
        )


def split_lines(body: bytes) -> list[Line]:
    """Returns the lines that are not blank; 400 when there is none, 413 when there are too many."""
    lines = [Line(number, text) for number, text in enumerate(body.split(b"\n"), 1) if text.strip(_BLANK)]
    if not lines:
        raise unreadable("The batch holds no line")
    if len(lines) > limits.BATCH_LINES:
        raise Problem(413, "too-many-lines", f"The batch has more than {limits.BATCH_LINES} lines; split it")
    return lines


def _read_line(line: Line) -> Lead:
    if len(line.text) > limits.LEAD_BYTES:
        raise Problem(413, "line-too-large", f"The line is larger than {limits.LEAD_BYTES} bytes")
    return Lead.model_validate_json(line.text, strict=True)


@post("/leads/batch", guards=[require(Scope.INGEST)])
async def post_batch(request: Incoming) -> Answer:
    """200 with one result per line; 503 when not a single line could be stored."""
    services = services_of(request)
    key = idempotency_key(request.scope)
    require_type(request, *NDJSON)
    lines = split_lines(await read_body(request, limits.BATCH_BYTES))
    results = await _take_all(_Batch(services, key, current(request).name, trace_of(request.scope)), lines)
    body = b"".join(encode(result) + b"\n" for result in results)
    return Response(body, status_code=200, media_type=NDJSON[0])


async def _take_all(batch: _Batch, lines: list[Line]) -> list[LineTaken | LineRefused]:
    results: list[LineTaken | LineRefused] = []
    for start in range(0, len(lines), limits.BATCH_CONCURRENCY):
        chunk = lines[start : start + limits.BATCH_CONCURRENCY]
        taken = await asyncio.gather(*map(batch.take, chunk))
        failed = next((result for result in taken if isinstance(result, Backpressure)), None)
        results += [
            _refused(line, result) if isinstance(result, Backpressure) else result
            for line, result in zip(chunk, taken, strict=True)
        ]
        if failed:
            if not any(isinstance(result, LineTaken) for result in results):
                raise failed
            return results + [_refused(line, failed) for line in lines[start + len(chunk) :]]
    return results


def _refused(line: Line, cause: Backpressure) -> LineRefused:
    return LineRefused(line.number, 503, unavailable(cause).detail)
