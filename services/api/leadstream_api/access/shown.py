"""Answers with personal data: whole for callers with `read:pii`, masked for all others, in one place."""

from __future__ import annotations

from typing import Any

import msgspec

from leadstream_api.access.guards import current
from leadstream_api.answers import encode, json_answer
from leadstream_api.routing import Answer, Incoming
from leadstream_events.masking import mask


def shown(request: Incoming, value: Any) -> Answer:
    """Returns `value` as JSON, with personal data hidden (fields keep their names) unless the caller may see it."""
    if current(request).sees_personal_data:
        return json_answer(value)
    return json_answer(mask(msgspec.json.decode(encode(value))))
