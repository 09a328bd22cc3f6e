"""Who a caller is and what he may do: pure values, no web framework.

`admin` holds every scope, `read:pii` holds `read`. An administrator can have every lead mailed to himself (he adds
subscribers), so keeping personal data from him would only look like protection.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a key may be good for."""

    INGEST = "ingest"
    READ = "read"
    READ_PII = "read:pii"
    ADMIN = "admin"


class Via(StrEnum):
    """How a caller proved who he is."""

    KEY = "key"
    SESSION = "session"
    LOOPBACK = "loopback"
    NOTHING = "nothing"


_HELD = {
    Scope.INGEST: frozenset((Scope.INGEST,)),
    Scope.READ: frozenset((Scope.READ,)),
    Scope.READ_PII: frozenset((Scope.READ, Scope.READ_PII)),
    Scope.ADMIN: frozenset(Scope),
}


def with_implied(scopes: frozenset[Scope]) -> frozenset[Scope]:
    """Returns the scopes and those that they hold."""
    return frozenset().union(*(_HELD[scope] for scope in scopes))


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one request. `scopes` holds the implied ones too; `key_id` is "" without a key."""

    name: str
    scopes: frozenset[Scope]
    via: Via
    key_id: str = ""

    def may(self, scope: Scope) -> bool:
        """True when the caller has the scope."""
        return scope in self.scopes

    @property
    def sees_personal_data(self) -> bool:
        """True when answers need no masking."""
        return Scope.READ_PII in self.scopes


# The name keeps the lead ids of idempotency keys what they were before there were API keys.
LOOPBACK = Principal("public", frozenset(Scope), Via.LOOPBACK)
NOBODY = Principal("nobody", frozenset(), Via.NOTHING)
