"""Purchased leads: set aside before a mail is requested, counted when it was accepted, given back otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.envelope import rfc3339
from leadstream_events.redis_client import Client

# Redis serves nobody else meanwhile and takes a million arguments; a batch of leads may mean any number of mails.
_AT_ONCE = 2_000


def member(email_id: str, number: int) -> str:
    """What stands for a mail's reservation; a redriven mail has a further one, so that late news of the first one's
    end cannot end it."""
    return f"{email_id}:{number}" if number else email_id


@dataclass(frozen=True, slots=True)
class Reservation:
    """One mail (`member`) of one subscriber; `purchased` below 0 means no limit."""

    email_id: str
    subscriber_id: str
    purchased: int


@dataclass(frozen=True, slots=True)
class Settled:
    """The end of a reserved mail: sent, or given back."""

    email_id: str
    subscriber_id: str
    sent: bool
    time: datetime


def _keys(subscriber_ids: Sequence[str]) -> list[str]:
    return [key for item in subscriber_ids for key in (keys.reserved(item), keys.quota(item))]


async def reserve(client: Client, wanted: Sequence[Reservation]) -> list[bool]:
    """Reserves one purchased lead per mail; False where none is left. Repeating a mail changes nothing."""
    granted: list[bool] = []
    for first in range(0, len(wanted), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE]
        args: list[Argument] = [part for item in some for part in (item.email_id, item.purchased)]
        replies = await scripts.run(client, scripts.RESERVE, _keys([item.subscriber_id for item in some]), args)
        granted += [reply == 1 for reply in replies]
    return granted


async def settle(client: Client, ended: Sequence[Settled]) -> None:
    """Counts or gives back reservations. Repeating one changes nothing."""
    if ended:
        args: list[Argument] = [part for item in ended for part in (item.email_id, int(item.sent), rfc3339(item.time))]
        await scripts.run(client, scripts.SETTLE, _keys([item.subscriber_id for item in ended]), args)
