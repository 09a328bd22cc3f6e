"""The operations of the API as OpenAPI 3.1 describes them, every status code with its body."""

from __future__ import annotations

from typing import Any

from leadstream_api import limits, queries
from leadstream_api.bodies import FORM, JSON, MULTIPART, NDJSON
from leadstream_api.problems import MEDIA_TYPE
from leadstream_mail.adf.reading import MEDIA_TYPES

Json = dict[str, Any]
ADF = MEDIA_TYPES[0]

_WORDS = {
    400: "The body cannot be read, or a parameter is wrong",
    404: "There is no such resource",
    408: "The body did not arrive in time",
    409: "Another body under this idempotency key, or the address is taken",
    413: "Too large",
    415: "A content type or charset that is not taken, or none",
    422: "Fields are wrong; `errors` names each",
    503: "Redis cannot take work now; try again after `Retry-After` seconds",
}
_BODY_FAULTS = (400, 408, 413, 415, 422)


def ref(name: str) -> Json:
    """A reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def content(media: str, name: str) -> Json:
    """One media type with one schema."""
    return {media: {"schema": ref(name)}}


def answer(text: str, name: str | None = None, headers: Json | None = None) -> Json:
    """A JSON answer, or one without content."""
    out: Json = {"description": text}
    if name:
        out["content"] = content(JSON, name)
    return out | ({"headers": headers} if headers else {})


def problems(*statuses: int) -> Json:
    """The error answers."""
    out: Json = {}
    for status in statuses:
        out[str(status)] = {"description": _WORDS[status], "content": content(MEDIA_TYPE, "Problem")}
        if status == 503:
            out["503"]["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds"}}
    return out


def operation(name: str, summary: str, answers: Json, **more: Any) -> Json:
    """One operation."""
    return {"operationId": name, "summary": summary, **more, "responses": answers}


def parameters(model: type[queries._Query]) -> list[Json]:
    """The query parameters that a model reads."""
    schema = model.model_json_schema()
    out = []
    for name, field in schema["properties"].items():
        plain = {key: value for key, value in field.items() if key not in ("title", "description")}
        options = [option for option in plain.pop("anyOf", []) if option.get("type") != "null"]
        if options:
            plain = {key: value for key, value in plain.items() if key != "default"} | options[0]
        if "$ref" in plain:
            plain = {key: value for key, value in plain.items() if key != "$ref"} | {
                "type": "string",
                "enum": schema["$defs"][plain["$ref"].rpartition("/")[2]]["enum"],
            }
        out.append({"name": name, "in": "query", "required": False, "schema": plain})
    return out


def path_parameter(name: str, text: str) -> Json:
    """A part of the path."""
    return {"name": name, "in": "path", "required": True, "description": text, "schema": {"type": "string"}}


IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body gives the first answer again, with another body 409",
    "schema": {"type": "string", "minLength": 1, "maxLength": limits.KEY_CHARS, "pattern": r"^[\x21-\x7e]+$"},
}
TRACE = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "description": "W3C Trace Context; one that is not valid is replaced",
    "schema": {"type": "string"},
}
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Where to read it"}}
_REPLAYED = {"Idempotent-Replayed": {"schema": {"type": "string", "enum": ["true"]}, "description": "On a repeat"}}
_ERASED_IN_SPOOL = "It is erased in the spool; Redis is told once it is back"
_RECORD = f"At most {limits.RECORD_BYTES} bytes."
_LEAD = (
    f"At most {limits.LEAD_BYTES} bytes, {limits.FORM_FIELDS} form fields and 200 levels of nesting. Strict: "
    "numbers are not taken as texts nor texts as numbers, unknown JSON fields are refused. Of a repeated JSON key "
    "the last value counts, everywhere. ADF 1.0 is taken as application/xml and text/xml too. With a publishable key a "
    "page may add `cf-turnstile-response`, in forms and in JSON; it is wanted where Turnstile is set up."
)


def _leads() -> Json:
    lead_content = content(JSON, "Lead") | content(FORM, "LeadForm") | content(MULTIPART, "LeadForm")
    lead_content |= content(ADF, "AdfDocument")
    erase_words = problems(400, 404, 409, 503)
    erase_words["409"]["description"] = "It was stored in the clear: there is no key to destroy"
    accepted = answer("The lead is stored", "LeadAccepted", _LOCATION | _REPLAYED)
    return {
        "/leads": {
            "post": operation(
                "submitLead",
                "Take a lead in",
                {"202": accepted} | problems(*_BODY_FAULTS, 409, 503),
                parameters=[IDEMPOTENCY, TRACE],
                requestBody={"required": True, "description": _LEAD, "content": lead_content},
            ),
            "get": operation(
                "listLeads",
                "Leads, newest first",
                {"200": answer("A page", "LeadPage")} | problems(400, 503),
                description="`since` and `until` go by the time of storage. A page may be empty and have a next one.",
                parameters=parameters(queries.LeadsQuery),
            ),
        },
        "/leads/batch": {"post": _batch()},
        "/leads/{lead_id}": {
            "get": operation(
                "getLead",
                "A lead, its mails and their attempts",
                {"200": answer("The lead", "LeadView")} | problems(400, 404, 503),
                parameters=[path_parameter("lead_id", "As the POST answered")],
            ),
            "delete": operation(
                "eraseLead",
                "Erase a lead's personal data",
                {"204": answer("It is erased, and was perhaps before"), "202": answer(_ERASED_IN_SPOOL)} | erase_words,
                description="Destroys the key that the lead is sealed under. Mails that wait are not sent any more.",
                parameters=[path_parameter("lead_id", "As the POST answered"), *parameters(queries.EraseQuery)],
            ),
        },
    }


def _batch() -> Json:
    results = {"anyOf": [ref("LineTaken"), ref("LineRefused")]}
    return operation(
        "submitBatch",
        "Take many leads in",
        {"200": {"description": "One result per line, in order", "content": {NDJSON[0]: {"schema": results}}}}
        | problems(400, 408, 413, 415, 503),
        description="Each line is a `Lead` in JSON. Good lines are taken; bad ones answer with a status of their own.",
        parameters=[IDEMPOTENCY, TRACE],
        requestBody={
            "required": True,
            "description": f"At most {limits.BATCH_BYTES} bytes and {limits.BATCH_LINES} lines.",
            "content": {media: {"schema": {"type": "string"}} for media in NDJSON},
        },
    )


def _subscribers() -> Json:
    one = [path_parameter("subscriber_id", "As the POST answered")]
    return {
        "/subscribers": {
            "get": operation(
                "listSubscribers", "Subscribers", {"200": answer("All", "SubscriberList")} | problems(400, 503)
            ),
            "post": operation(
                "addSubscriber",
                "Add a subscriber",
                {"201": answer("Added", "SubscriberView", _LOCATION)} | problems(*_BODY_FAULTS, 409, 503),
                requestBody={"required": True, "description": _RECORD, "content": content(JSON, "SubscriberDraft")},
            ),
        },
        "/subscribers/{subscriber_id}": {
            "get": operation(
                "getSubscriber",
                "A subscriber",
                {"200": answer("The subscriber", "SubscriberView")} | problems(400, 404, 503),
                parameters=one,
            ),
            "patch": operation(
                "changeSubscriber",
                "Change a subscriber (RFC 7396)",
                {"200": answer("Changed", "SubscriberView")} | problems(*_BODY_FAULTS, 404, 409, 503),
                parameters=one,
                requestBody={"required": True, "description": _RECORD, "content": content(JSON, "SubscriberPatch")},
            ),
            "delete": operation(
                "removeSubscriber",
                "Remove a subscriber",
                {"204": answer("Removed")} | problems(404, 503),
                parameters=one,
            ),
        },
    }


def _suppressions() -> Json:
    return {
        "/suppressions": {
            "get": operation(
                "listSuppressions", "Suppressions", {"200": answer("All", "SuppressionList")} | problems(400, 503)
            ),
            "post": operation(
                "suppress",
                "Suppress an address",
                {"201": answer("Suppressed", "SuppressionView", _LOCATION)} | problems(*_BODY_FAULTS, 503),
                requestBody={"required": True, "description": _RECORD, "content": content(JSON, "SuppressionDraft")},
            ),
        },
        "/suppressions/send-held": {
            "post": operation(
                "sendHeld",
                "Send what was skipped while a subscriber's address got no mail",
                {"200": answer("Asked for, each mail once", "HeldAnswer")} | problems(404, *_BODY_FAULTS, 503),
                requestBody={"required": True, "description": _RECORD, "content": content(JSON, "HeldDraft")},
            )
        },
        "/suppressions/{address}": {
            "delete": operation(
                "release",
                "Lift a suppression",
                {"204": answer("Lifted")} | problems(404, 503),
                parameters=[path_parameter("address", "The address, in any case")],
            )
        },
    }


def _figures() -> Json:
    plain = {
        "/stats": ("getTotals", "Totals", "Totals"),
        "/stats/subscribers": ("getSubscriberStats", "Counters per subscriber", "SubscriberStatsList"),
        "/streams": ("getStreams", "Streams, groups and lag", "StreamList"),
    }
    out = {
        path: {"get": operation(name, text, {"200": answer(text, schema)} | problems(400, 503))}
        for path, (name, text, schema) in plain.items()
    }
    out["/stats/series"] = {
        "get": operation(
            "getSeries",
            "Counters over time",
            {"200": answer("The points", "Series")} | problems(400, 503),
            parameters=parameters(queries.SeriesQuery),
        )
    }
    out["/dead-letters"] = {
        "get": operation(
            "listDeadLetters",
            "Dead letters, newest first",
            {"200": answer("A page", "DeadLetterPage")} | problems(400, 503),
            parameters=parameters(queries.PageQuery),
        )
    }
    return out


def _operations() -> Json:
    text = {"text/plain; version=0.0.4; charset=utf-8": {"schema": {"type": "string"}}}
    document = {"200": {"description": "OpenAPI 3.1", "content": {JSON: {"schema": {"type": "object"}}}}}
    unready = {"description": "Leads cannot be stored now", "content": content(JSON, "Readiness")}
    return {
        "/health/live": {
            "get": operation("getLive", "Liveness", {"200": answer("It answers", "Live")} | problems(400))
        },
        "/health/ready": {
            "get": operation(
                "getReady",
                "Readiness",
                {"200": answer("Leads can be stored", "Readiness"), "503": unready} | problems(400),
            )
        },
        "/metrics": {
            "get": operation(
                "getMetrics", "Prometheus metrics", {"200": {"description": "Text", "content": text}} | problems(400)
            )
        },
        "/schema": {"get": operation("getSchema", "This document", document | problems(400))},
        "/schema/openapi.json": {"get": operation("getSchemaFile", "This document", document | problems(400))},
    }


def build_paths() -> Json:
    """Returns `paths`."""
    return _leads() | _subscribers() | _suppressions() | _figures() | _operations()
