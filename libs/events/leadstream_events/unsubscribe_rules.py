"""What a recipient's wish makes of the suppression of his address: pure.

A wish never lifts or shortens what somebody else decided (a bounce, a complaint, an operator): it may only be added to
it, and undoing the wish does not undo the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from leadstream_events.schemas.subscriber import Suppression

REASON: Final = "unsubscribed"
PAUSES_D: Final = (7, 30, 90)
USUAL_PAUSE_D: Final = 30


class Wish(StrEnum):
    """What a recipient can ask for."""

    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"


class Standing(StrEnum):
    """How it stands with an address. `HELD`: kept from mail for another reason than its owner's wish."""

    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Step:
    """What to store: `after` None lifts the suppression; not `changed`: nothing is to be done."""

    changed: bool
    after: Suppression | None = None


def standing(found: Suppression | None, now: datetime) -> Standing:
    """How it stands with an address that has this suppression."""
    if found is None or not found.holds(now):
        return Standing.ACTIVE
    if found.reason != REASON:
        return Standing.HELD
    return Standing.STOPPED if found.expires_at is None else Standing.PAUSED


def can_resume(found: Suppression | None, now: datetime) -> bool:
    """True when the recipient's own wish is all that keeps mail from him."""
    return found is not None and standing(found, now) in (Standing.STOPPED, Standing.PAUSED) and found.replaced is None


def step(before: Suppression | None, wish: Wish, address: str, now: datetime, days: int = USUAL_PAUSE_D) -> Step:
    """Decides on a wish. A wish that is in force already changes nothing, so asking twice is asking once."""
    held = before if before is not None and before.holds(now) else None
    if wish is Wish.RESUME:
        return Step(can_resume(held, now))
    until = now + timedelta(days=days) if wish is Wish.PAUSE else None
    if held is None:
        return Step(True, _made(address, now, until, None))
    if held.reason == REASON:
        if wish is Wish.STOP and held.expires_at is None:
            return Step(False)
        if until is not None and held.expires_at is not None and abs(held.expires_at - until) < timedelta(minutes=1):
            return Step(False)  # the same pause, posted twice
        if until is not None and held.replaced is not None:
            return Step(False)  # somebody else's decision would end with the pause
        return Step(True, _made(address, now, until, held.replaced))
    if until is not None and (held.expires_at is None or until <= held.expires_at):
        return Step(False)
    return Step(True, _made(address, now, until, held.reason))


def _made(address: str, now: datetime, until: datetime | None, replaced: str | None) -> Suppression:
    return Suppression(address=address, reason=REASON, created_at=now, expires_at=until, replaced=replaced)
