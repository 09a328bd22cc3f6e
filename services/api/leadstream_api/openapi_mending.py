"""Redrives and previews as the OpenAPI document describes them; the other paths stand in `openapi_paths`."""

from __future__ import annotations

from leadstream_api import queries
from leadstream_api.openapi_paths import Json, answer, content, operation, parameters, problems
from leadstream_api.problems import MEDIA_TYPE

LETTER_ID: Json = {
    "name": "letter_id",
    "in": "path",
    "required": True,
    "description": "The `id` in the list of dead letters",
    "schema": {"type": "string"},
}


def _redrive() -> Json:
    words = problems(400, 404, 409, 503)
    words["409"]["description"] = "It was closed already, or its mail could not be sent now; `detail` tells the mend"
    return {
        "/dead-letters/{letter_id}/redrive": {
            "post": operation(
                "redriveDeadLetter",
                "Send a given-up mail again, once",
                {"200": answer("It is closed and its mail on its way", "Redriven")} | words,
                parameters=[LETTER_ID, *parameters(queries.RedriveQuery)],
            )
        }
    }


def _previews() -> Json:
    pages = {media: {"schema": {"type": "string"}} for media in ("text/html", "text/plain; charset=utf-8")}
    words = problems(400, 404, 422, 503)
    words["410"] = {"description": "The lead's data is not stored any more", "content": content(MEDIA_TYPE, "Problem")}
    words["422"]["description"] = "The template fails on this lead"
    return {
        f"/previews/{kind}": {
            "get": operation(
                f"preview{kind.title()}",
                f"The {kind} mail as it would be sent",
                {"200": {"description": "HTML, or text where only that is accepted", "content": pages}} | words,
                parameters=parameters(
                    queries.NotificationPreviewQuery if kind == "notification" else queries.PreviewQuery
                ),
            )
        }
        for kind in ("notification", "welcome")
    }


def mending_paths() -> Json:
    """Returns these `paths`."""
    return _redrive() | _previews()
