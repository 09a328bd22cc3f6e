"""Who looks at a page, and what he may see and do: the one place where pages ask access control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from leadstream_api.access import Scope, Via, csrf_token, current
from leadstream_api.answers import encode
from leadstream_api.routing import Incoming
from leadstream_events.masking import mask

LOOPBACK_NAME = "dashboard"


@dataclass(frozen=True, slots=True)
class Viewer:
    """`name` is what events say of him; `session` that he can log out."""

    name: str
    pii: bool
    admin: bool
    session: bool
    csrf: str


def viewer_of(request: Incoming) -> Viewer:
    """The caller of this request, as the guard found him."""
    who = current(request)
    return Viewer(
        name=LOOPBACK_NAME if who.via is Via.LOOPBACK else who.name,
        pii=who.sees_personal_data,
        admin=who.may(Scope.ADMIN),
        session=who.via is Via.SESSION,
        csrf=csrf_token(request),
    )


def plain(value: Any, *, pii: bool) -> Any:
    """The value as built-in types, as JSON has them, with personal data hidden unless it may be seen."""
    found = msgspec.json.decode(encode(value))
    return found if pii else mask(found)


def shown(request: Incoming, value: Any) -> Any:
    """`plain` for whoever asks."""
    return plain(value, pii=current(request).sees_personal_data)


def first(fields: Mapping[str, str], name: str, most: int = 300) -> str:
    """A form field, stripped and cut; '' when it is missing."""
    return fields.get(name, "").strip()[:most]
