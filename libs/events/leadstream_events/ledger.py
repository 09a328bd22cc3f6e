"""The ledger: per mail one row that says how far it has come; read and marked in one script before any dialing.

A row is text with blanks between: `state attempts unknowns owner phase at_ms entry`. The first four are the fence
of an attempt: as long as the row starts with them, the attempt is its owner's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from leadstream_events.effects import Fence

# The field of a ledger that says that fan-out has been through, beside the append's field `lead` and the rows.
FANOUT_FIELD = "fanout"


class State(StrEnum):
    """How far a mail has come. `sent`, `failed`, `skipped` and `held` are final."""

    REQUESTED = "requested"
    SENDING = "sending"
    DEFERRED = "deferred"
    UNKNOWN = "unknown"
    SENT = "sent"
    FAILED = "failed"
    SKIPPED = "skipped"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Row:
    """One mail's row. `at_ms` is the time of the last change, or of the next attempt while deferred."""

    state: State
    attempts: int = 0
    unknowns: int = 0
    owner: str = "-"
    phase: str = "-"
    at_ms: int = 0
    entry: str = "-"

    def __str__(self) -> str:
        return f"{self.state} {self.attempts} {self.unknowns} {self.owner} {self.phase} {self.at_ms} {self.entry}"


def parse_row(text: str) -> Row:
    """Reads a row; ValueError if it is none."""
    state, attempts, unknowns, owner, phase, at_ms, entry = text.split(" ")
    return Row(State(state), int(attempts), int(unknowns), owner, phase, int(at_ms), entry)


def fence(ledger_key: str, email_id: str, attempt: int, unknowns: int, owner: str) -> Fence:
    """The fence of one attempt: holds while the row is still `sending` as this attempt of this owner."""
    return Fence(ledger_key, email_id, f"{State.SENDING} {attempt} {unknowns} {owner} ")
