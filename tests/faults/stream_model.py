"""What the streams, the ledger and the parked entries must look like, kept in plain Python beside the real server."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from leadstream_events.keys import PARKED
from leadstream_events.ledger import State

FINAL = (State.SENT, State.FAILED, State.SKIPPED, State.HELD)
RETRIES, UNKNOWNS = 2, 1


@dataclass(frozen=True)
class Mail:
    """The ledger row of one mail, without its time."""

    lead: str
    state: State = State.REQUESTED
    attempts: int = 0
    unknowns: int = 0
    owner: str = "-"
    phase: str = "-"
    entry: str = "-"

    @property
    def final(self) -> bool:
        """True when nobody will touch it any more."""
        return self.state in FINAL


@dataclass
class Group:
    """What a group has read and not finished: entry id to its consumer, and what it has not read, in order."""

    unread: list[str] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def read(self, consumer: str, count: int) -> list[str]:
        """Hands the next entries to a consumer."""
        got, self.unread = self.unread[:count], self.unread[count:]
        self.pending |= dict.fromkeys(got, consumer)
        return got

    def ack(self, entry: str) -> None:
        """Finishes an entry."""
        self.pending.pop(entry, None)
        self.done.add(entry)

    def orphans(self, consumer: str) -> set[str]:
        """What another consumer could claim when every lease has run out."""
        return {entry for entry, owner in self.pending.items() if owner not in (consumer, PARKED)}

    def parked(self) -> set[str]:
        """Entries that nobody owns until they are due."""
        return {entry for entry, owner in self.pending.items() if owner == PARKED}


def begin(mail: Mail, owner: str, entry: str) -> tuple[str, Mail]:
    """What `begin.lua` has to answer while no lease runs out, and the row after it."""
    sending = mail.state is State.SENDING
    if mail.final:
        return "done", mail
    if sending and mail.entry != entry:
        return "busy", mail
    if sending and mail.phase == "data":
        return "unknown", mail
    if not sending and mail.attempts > RETRIES:
        return "exhausted", mail
    attempts = mail.attempts + (0 if sending else 1)
    return "go", replace(mail, state=State.SENDING, attempts=attempts, owner=owner, phase="begin", entry=entry)


def held_by(mail: Mail, attempt: int, unknowns: int, owner: str | None) -> bool:
    """True while the fence of an attempt holds; `owner` None: whoever's attempt it is."""
    mine = owner is None or mail.owner == owner
    return mail.state is State.SENDING and (mail.attempts, mail.unknowns) == (attempt, unknowns) and mine
