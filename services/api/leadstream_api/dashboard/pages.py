"""Pages: templates in, HTML out, every value escaped; errors as pages too, and notices from a closed set."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import minijinja
from litestar import Request, Response
from redis.exceptions import RedisError

from leadstream_api.bodies import FORM, read_body, require_type
from leadstream_api.context import services_of
from leadstream_api.dashboard import assets, formats
from leadstream_api.dashboard.viewer import viewer_of
from leadstream_api.forms import urlencoded_fields
from leadstream_api.problems import Problem, problem_of
from leadstream_api.routing import Answer, Incoming
from leadstream_events import dead_letters
from leadstream_events.subscribers import utc_now

HTML = "text/html"
FORM_BYTES = 64 * 1024
_TEMPLATES = Path(__file__).parent / "templates"

NOTICES = {
    "redriven": ("good", "Done: the mail is on its way again."),
    "redelivered": ("good", "Done: its group gets the entry again."),
    "redriven-all": ("good", "Redriven: {n}. Left alone: {m}."),
    "dropped": ("good", "Dropped; the reason is kept in the lead's timeline."),
    "settled": ("good", "Settled."),
    "added": ("good", "Subscriber added."),
    "changed": ("good", "Changes saved."),
    "removed": ("good", "Subscriber removed. Mails already requested are skipped."),
    "suppressed": ("good", "Suppressed: this address gets no mail from now on."),
    "sent": ("good", "Asked for: the mails that were held back are on their way."),
    "released": ("good", "Released: this address gets mail again."),
    "erased": ("good", "Erased: nobody can read the lead's personal data any more."),
    "erased-spool": ("good", "Erased here; the streams are told as soon as Redis is back."),
    "refused": ("bad", ""),
}


def environment() -> minijinja.Environment:
    """The templates, with the filters of `formats`. Undefined names are errors, so that a slip shows in tests."""
    made = minijinja.Environment(
        loader=lambda name: (_TEMPLATES / name).read_text(encoding="utf-8"),
        undefined_behavior="strict",
        trim_blocks=True,
        lstrip_blocks=True,
        finalizer=lambda value: "" if value is None else value,
    )
    made.reload_before_render = False
    for each in ("number", "at_least", "duration", "when", "day", "short", "event_word", "cause_word", "percent"):
        made.add_filter(each, getattr(formats, each))
    made.add_filter("query", query)
    made.add_global("assets", assets.URLS)
    return made


@lru_cache(maxsize=1)
def templates() -> minijinja.Environment:
    """The environment of this process."""
    return environment()


def query(values: dict[str, Any]) -> str:
    """A query string of the values that are there."""
    return urlencode({name: value for name, value in values.items() if value not in (None, "", False)})


async def page(request: Incoming, template: str, *, here: str, title: str, status: int = 200, **values: Any) -> Answer:
    """Returns a whole page; `here` is the navigation's entry."""
    return Response(
        templates()
        .render_template(
            template,
            here=here,
            title=title,
            viewer=viewer_of(request),
            open_letters=await _open_letters(request),
            notice=notice(request),
            now=utc_now(),
            **values,
        )
        .encode(),
        status_code=status,
        media_type=HTML,
    )


async def _open_letters(request: Incoming) -> int | None:
    """The number beside "Dead letters"; None while Redis does not tell."""
    try:
        return await dead_letters.total(services_of(request).log)
    except (RedisError, OSError):
        return None


def notice(request: Incoming) -> tuple[str, str] | None:
    """(kind, text) of what was just done, as the address names it; texts come from here and never from the address."""
    found = NOTICES.get(request.query_params.get("done", ""))
    if found is None:
        return None
    counts = {name: _count(request, name) for name in ("n", "m")}
    return found[0], found[1].format(**counts) or _refusal(request)


def _count(request: Incoming, name: str) -> str:
    text = str(request.query_params.get(name, ""))
    return formats.number(int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else "0"


def _refusal(request: Incoming) -> str:
    from leadstream_events.redrive_rules import TEXT, Refusal

    why = request.query_params.get("why", "")
    return TEXT[Refusal(why)] if why in list(Refusal) else "It could not be done."


def see(path: str, **values: Any) -> Answer:
    """303 to a page: whoever reloads it does nothing twice."""
    text = query(values)
    joined = path + (("&" if "?" in path else "?") + text if text else "")
    return Response(b"", status_code=303, headers={"Location": joined})


async def form(request: Incoming) -> dict[str, str]:
    """The fields of a posted form, the last of each name."""
    require_type(request, FORM)
    return dict(urlencoded_fields(await read_body(request, FORM_BYTES)))


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Errors of pages as pages; a login that is needed leads there, whatever wants JSON gets problem+json."""
    problem = problem_of(error)
    if problem.status < 400 or "text/html" not in request.headers.get("accept", ""):
        return problem.response()
    body = templates().render_template("error.html", **_of_error(problem))
    return Response(body.encode(), status_code=problem.status, media_type=HTML, headers=problem.headers)


def _of_error(problem: Problem) -> dict[str, Any]:
    return {
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "errors": problem.errors,
    }
