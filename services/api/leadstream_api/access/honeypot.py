"""The honeypot: a form field that people do not see and programs that fill everything in do fill in.

It belongs to the publishable key of a site (`honeypot` in the keys file). A filled one is a 422 and not a pretended
202: a browser's form filler may have filled it in, and then a person has to learn that his lead was not taken.
"""

from __future__ import annotations

from leadstream_api.access.guards import caller_of
from leadstream_api.forms import Fields
from leadstream_api.problems import field_error, invalid
from leadstream_api.routing import Incoming


def without_honeypot(request: Incoming, fields: Fields) -> Fields:
    """Returns the fields without the one that has to be empty; 422 when it is not."""
    key = caller_of(request).key
    if key is None or key.honeypot is None:
        return fields
    if any(name == key.honeypot and value for name, value in fields):
        raise invalid([field_error([key.honeypot], "must stay empty: people do not see this field")])
    return [(name, value) for name, value in fields if name != key.honeypot]
