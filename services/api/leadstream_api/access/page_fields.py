"""Fields that a web page sends beside the lead, and that say whether a person filled the form in.

The honeypot is a field that people do not see and programs that fill everything in do fill in. It belongs to the
publishable key of a site (`honeypot` in the keys file). A filled one is a 422 and not a pretended 202: a browser's
form filler may have filled it in, and then a person has to learn that his lead was not taken.

Turnstile's token comes in a field of its own. Both are taken out of forms and of JSON, and are no part of the lead.
"""

from __future__ import annotations

import msgspec

from leadstream_api.access.keys import Key
from leadstream_api.access.turnstile import FIELD
from leadstream_api.forms import Fields
from leadstream_api.problems import field_error, invalid

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def from_form(key: Key | None, fields: Fields) -> tuple[Fields, str | None]:
    """Returns the fields of the lead, and Turnstile's token if there is one; 422 when the honeypot is filled."""
    honeypot = key.honeypot if key else None
    if honeypot is not None:
        _require_empty(honeypot, any(name == honeypot and value for name, value in fields))
    token = next((value for name, value in reversed(fields) if name == FIELD), None)
    return [(name, value) for name, value in fields if name not in (FIELD, honeypot)], token


def from_json(key: Key | None, body: bytes) -> tuple[bytes, str | None]:
    """The same for the JSON object of a page; a body that is none is left for the lead's own validation to name."""
    if key is None or not (key.publishable or key.honeypot):
        return body, None
    try:
        members = _MEMBERS.decode(body)
        token = _text(members.pop(FIELD, None))
        trap = _text(members.pop(key.honeypot, None)) if key.honeypot else ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body, None
    _require_empty(key.honeypot or "", trap != "")
    return msgspec.json.encode(members), token


def _text(value: msgspec.Raw | None) -> str:
    """A member that should be a text, "" where it is absent or null."""
    return (msgspec.json.decode(value, type=str | None) if value is not None else None) or ""


def _require_empty(honeypot: str, filled: bool) -> None:
    if filled:
        raise invalid([field_error([honeypot], "must stay empty: people do not see this field")])
