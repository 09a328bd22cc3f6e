"""What a template sees of a lead: plain values, and in the welcome mail nothing that can serve as bait.

Values are values: no template engine ever parses them. The welcome mail goes to an address that a stranger typed,
so text in it that looks like a link, or is long enough to be a message of its own, is left out (case 023).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.lead import Lead
from leadstream_events.text import looks_like_link

MAX_WELCOME_TEXT = 64

# Beside what `looks_like_link` finds: text that some mail programs link or that reads as a path or an address.
_BAIT = re.compile(r"[/\\@]|[^\s.]\.[^\s.]|[\u3002\uff0e\uff61]")


def template_context(kind: Kind, lead_id: str, lead: Lead, now: datetime, public_url: str) -> dict[str, Any]:
    """Returns `lead`, `lead_id`, `received` (UTC, to the minute) and `public_url`; absent fields are None."""
    fields = lead.model_dump(mode="python")
    if fields["birth_date"] is not None:
        fields["birth_date"] = fields["birth_date"].isoformat()
    consent = fields["consent"]
    if consent is not None and consent["time"] is not None:
        consent["time"] = minute(consent["time"])
    if kind is Kind.WELCOME:
        fields = _harmless(fields)
    return {"lead": fields, "lead_id": lead_id, "received": minute(now), "public_url": public_url}


def minute(instant: datetime) -> str:
    """Returns `2026-01-31 09:05 UTC`; a time without an offset counts as UTC."""
    aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    return f"{aware.year:04d}-{aware:%m-%d %H:%M} UTC"


def is_bait(text: str) -> bool:
    """True for text that a mail to an unproven address must not repeat."""
    return len(text) > MAX_WELCOME_TEXT or looks_like_link(text) or bool(_BAIT.search(text))


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return None if is_bait(value) else value
    if isinstance(value, Mapping):
        return {key: _harmless(item) for key, item in value.items() if not is_bait(key)}
    if isinstance(value, list | tuple):
        return [_harmless(item) for item in value]
    return value
