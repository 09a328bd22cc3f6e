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

# Without one of these no text is bait, unless it is long; nearly every text is without.
_SUSPECT = re.compile(r"[./\\@\u3002\uff0e\uff61]")
# Beside what `looks_like_link` finds: text that some mail programs link or that reads as a path or an address.
_BAIT = re.compile(r"[/\\@]|[^\s.]\.[^\s.]|[\u3002\uff0e\uff61]")


def template_context(
    kind: Kind, lead_id: str, lead: Lead, now: datetime, public_url: str, unsubscribe_url: str | None = None
) -> dict[str, Any]:
    """Returns `lead`, `lead_id`, `received` (UTC, to the minute), `public_url` and `unsubscribe_url`.

    Absent fields are None, and so is `unsubscribe_url` in a welcome mail, which nobody subscribes to.
    """
    fields = lead.model_dump(mode="python")
    if fields["birth_date"] is not None:
        fields["birth_date"] = fields["birth_date"].isoformat()
    consent = fields["consent"]
    if consent is not None and consent["time"] is not None:
        consent["time"] = minute(consent["time"])
    if kind is Kind.WELCOME:
        fields = _harmless(fields)
    return {
        "lead": fields,
        "lead_id": lead_id,
        "received": minute(now),
        "public_url": public_url,
        "unsubscribe_url": unsubscribe_url if kind is Kind.NOTIFICATION else None,
    }


def minute(instant: datetime) -> str:
    """Returns `2026-01-31 09:05 UTC`; a time without an offset counts as UTC."""
    aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    return f"{aware.isoformat(' ', 'minutes')[:16]} UTC"


def is_bait(text: str) -> bool:
    """True for text that a mail to an unproven address must not repeat."""
    if len(text) > MAX_WELCOME_TEXT:
        return True
    return bool(_SUSPECT.search(text)) and (looks_like_link(text) or bool(_BAIT.search(text)))


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return None if is_bait(value) else value
    if isinstance(value, Mapping):
        return {key: _harmless(item) for key, item in value.items() if not is_bait(key)}
    if isinstance(value, list | tuple):
        return [_harmless(item) for item in value]
    return value
