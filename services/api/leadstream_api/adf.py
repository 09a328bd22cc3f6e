"""ADF documents as leads. An error names the XML element as the path from the root: `/adf/prospect/vehicle[2]/year`."""

from __future__ import annotations

from datetime import datetime

import msgspec
from pydantic import ValidationError

from leadstream_api.problems import FieldError, Problem, field_errors, invalid
from leadstream_events.schemas.lead import Lead
from leadstream_mail.adf.reading import AdfLead, read_adf
from leadstream_mail.adf.xml import Forbidden, Unreadable


def lead_from_adf(body: bytes, now: datetime) -> Lead:
    """Returns the lead in a document; 400 for one that cannot be read, 422 with the elements that are wrong."""
    try:
        found = read_adf(body, now)
    except Unreadable as error:
        kind = "xml-forbidden" if isinstance(error, Forbidden) else "xml-not-well-formed"
        detail = f"The ADF document cannot be read, and nothing of it was stored: {error}"
        raise Problem(400, kind, detail) from None
    try:
        return Lead.model_validate_json(msgspec.json.encode(found.data), strict=True)
    except ValidationError as error:
        raise invalid(_relocated(found, error)) from None


def _relocated(found: AdfLead, error: ValidationError) -> list[FieldError]:
    """Names elements instead of fields; the order and the messages stay."""
    out = []
    for item in field_errors(error):
        path = found.place(tuple(int(part) if part.isdigit() else part for part in item.pointer.split("/")[1:]))
        out.append(FieldError(path.removeprefix("/"), path, item.message))
    return out
