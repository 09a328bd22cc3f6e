"""The schemas of bodies and answers, taken from the models that read and write them, so they cannot drift apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from leadstream_api import limits
from leadstream_api.batch import LineRefused, LineTaken
from leadstream_api.directory import SubscriberList, SubscriberView, SuppressionDraft, SuppressionList, SuppressionView
from leadstream_api.figures import DeadLetterPage, StreamList, SubscriberStatsList
from leadstream_api.health import Readiness
from leadstream_api.held import HeldAnswer, HeldDraft
from leadstream_api.problems import FieldError
from leadstream_api.redrives import Redriven
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.subscriber import SubscriberDraft, SubscriberPatch
from leadstream_events.views_leads import LeadPage, LeadView
from leadstream_events.views_stats import Series, Totals


@dataclass(frozen=True, slots=True)
class LeadAccepted:
    """Where an accepted lead is. `memory`: in Redis; `fsynced`: on the disk of Redis; `spooled`: on the API's disk."""

    lead_id: str
    mode: Literal["stream", "fallback"]
    durability: Literal["memory", "fsynced", "spooled"]
    location: str


@dataclass(frozen=True, slots=True)
class Live:
    """The process answers."""

    status: Literal["ok"]


@dataclass(frozen=True, slots=True)
class WebhookResults:
    """How many events were in a body, and how many of them came to what; `foreign` ones are of no mail of ours."""

    events: int
    results: dict[str, int]


REQUESTS = (Lead, SubscriberDraft, SubscriberPatch, SuppressionDraft, HeldDraft)
ANSWERS = (
    LeadAccepted,
    LeadPage,
    LeadView,
    LineTaken,
    LineRefused,
    SubscriberList,
    SubscriberView,
    SuppressionList,
    SuppressionView,
    Totals,
    SubscriberStatsList,
    Series,
    StreamList,
    DeadLetterPage,
    Redriven,
    HeldAnswer,
    Readiness,
    Live,
    FieldError,
    WebhookResults,
)

_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `errors` has one entry per wrong field; values that were sent are never repeated.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
    },
}
_FORM = {
    "type": "object",
    "title": "LeadForm",
    "description": (
        "The fields of `Lead`, as a web form posts them: `vehicles[0][make]`, `vehicles[0].make` or `vehicles-0-make`, "
        "`consent[text]` or `consent.text`. Blank values count as absent; of a repeated field the last value counts. "
        "Fields that a lead does not have are kept as metadata, shortened to its limits. "
        f"At most {limits.FORM_FIELDS} fields, no files."
    ),
    "required": ["full_name", "email"],
    "properties": {"full_name": {"type": "string"}, "email": {"type": "string", "format": "email"}},
    "additionalProperties": {"type": "string"},
}
_ADF = {
    "type": "string",
    "title": "AdfDocument",
    "description": (
        "An ADF 1.0 document with one prospect. Document types, entities and external references are refused. Errors "
        "name the XML element by its path, as in `/adf/prospect/vehicle[2]/year`. What a lead has no field for is kept "
        "as metadata under `adf.`; what was mended or guessed is listed in `adf.warnings`."
    ),
}
_MASKED = {
    "type": "object",
    "title": "MaskedLead",
    "description": "What callers without `read:pii` see of a lead: the same fields, personal ones as `D***`.",
    "required": ["full_name", "email"],
    "properties": {"full_name": {"type": "string"}, "email": {"type": "string"}},
    "additionalProperties": True,
}
_FORMATS = {
    "Lead": {
        "full_name": "One line of text",
        "email": "One address; domains in Unicode are taken, quoted local parts are not",
        "phone_number": "7 to 20 digits with the usual signs between",
        "state": "Two letters",
        "zip_code": "12345 or 12345-6789",
    },
    "Vehicle": {"vin": "17 letters and digits without I, O and Q (ISO 3779)"},
    "Consent": {"time": "RFC 3339; without an offset it is UTC"},
}


def build_schemas() -> dict[str, Any]:
    """Returns `components.schemas`."""
    inputs: list[tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]] = [
        (model.__name__, "validation", TypeAdapter(model)) for model in REQUESTS
    ]
    outputs: list[tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]] = [
        (model.__name__, "serialization", TypeAdapter(model)) for model in ANSWERS
    ]
    _, found = TypeAdapter.json_schemas([*inputs, *outputs], ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = dict(found["$defs"])
    schemas |= {"Problem": _PROBLEM, "LeadForm": _FORM, "AdfDocument": _ADF, "MaskedLead": _MASKED}
    schemas["LeadView"]["properties"]["lead"]["anyOf"].append({"$ref": "#/components/schemas/MaskedLead"})
    for name, notes in _FORMATS.items():
        for key in (name, f"{name}-Input"):
            for field, text in notes.items():
                if key in schemas:
                    schemas[key]["properties"][field]["description"] = text
    _refuse_nulls(schemas["SubscriberPatch"]["properties"])
    return schemas


def _refuse_nulls(properties: dict[str, Any]) -> None:
    """PATCH takes null for what can be taken away only."""
    for name in ("email", "name", "active", "format"):
        field = properties[name]
        field |= next(each for each in field.pop("anyOf") if each.get("type") != "null")
        field.pop("default", None)
