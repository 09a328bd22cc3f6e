"""Logins per address: who tries keys gets ten tries a minute.

Behind a proxy everybody has the proxy's address, so there the limit is for all together. Keys are too long to be
guessed anyway; the limit keeps the log readable and the try cheap to refuse.
"""

from __future__ import annotations

import ipaddress

from litestar.types import Scope

from leadstream_events.limits import Rate

ATTEMPTS = Rate(10, 60_000)
_HOUSEHOLD_BITS = 64  # one subscriber of an IPv6 network has at least a /64


def address_of(scope: Scope) -> str:
    """The address that counts: IPv6 by its /64, and "" for a unix socket."""
    client = scope.get("client")
    if client is None:
        return ""
    try:
        found = ipaddress.ip_address(client[0])
    except ValueError:
        return str(client[0])
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network(f"{found}/{_HOUSEHOLD_BITS}", strict=False))
