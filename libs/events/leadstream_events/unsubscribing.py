"""Carries out what a recipient wishes: suppression and events in one step, as often as it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.envelope import flat, make_event
from leadstream_events.errors import Conflict
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import (
    EventData,
    RecipientReleased,
    RecipientSuppressed,
    RecipientUnsubscribed,
)
from leadstream_events.schemas.lead import address_key
from leadstream_events.schemas.subscriber import Subscriber, Suppression
from leadstream_events.unsubscribe_rules import USUAL_PAUSE_D, Wish, step

BY_RECIPIENT = "recipient"
_TRIES = 5


async def suppression_of(client: Client, address: str) -> Suppression | None:
    """Returns the suppression of an address, in force or not."""
    value = await client.hget(keys.SUPPRESSIONS, address_key(address))
    return Suppression.model_validate_json(value) if value else None


async def silent(client: Client, subscribers: Sequence[Subscriber], now: datetime) -> dict[str, Suppression]:
    """Returns the suppression in force of each subscriber who has one, by his id, in one round trip."""
    if not subscribers:
        return {}
    values = await client.hmget(keys.SUPPRESSIONS, [address_key(each.email) for each in subscribers])
    found = {
        each.id: Suppression.model_validate_json(value)
        for each, value in zip(subscribers, values, strict=True)
        if value is not None
    }
    return {name: suppression for name, suppression in found.items() if suppression.holds(now)}


async def ask(
    client: Client, subscriber: Subscriber, wish: Wish, via: str, now: datetime, days: int = USUAL_PAUSE_D
) -> bool:
    """Does what a subscriber wishes for his present address; False when that changed nothing.

    `via` says by which way it was asked, for the event. From then on the mailer skips his mails, also those that are
    requested already; one whose content is going out in this moment still arrives. Raises `Conflict` when others keep
    changing the same suppression, and Redis errors as they are.
    """
    address = address_key(subscriber.email)
    for _ in range(_TRIES):
        stored = await client.hget(keys.SUPPRESSIONS, address)
        before = Suppression.model_validate_json(stored) if stored else None
        decided = step(before, wish, subscriber.email, now, days)
        if not decided.changed:
            return False
        after = decided.after
        entries = [flat(make_event(data, subject=subject, now=now)) for subject, data in _told(subscriber, after, via)]
        args: list[Argument] = [
            address,
            stored or "",
            after.model_dump_json() if after else "",
            len(entries[0]),
            *(part for entry in entries for part in entry),
        ]
        if await scripts.run(client, scripts.SUPPRESSION_CHANGE, [keys.SUPPRESSIONS, keys.SUBSCRIBER_EVENTS], args):
            return True
    raise Conflict("the suppression is being changed by somebody else; try again")


def _told(subscriber: Subscriber, after: Suppression | None, via: str) -> list[tuple[str, EventData]]:
    """(subject, event): what the recipient asked for, and what became of the suppression."""
    if after is None:
        return [("suppression", RecipientReleased(address=subscriber.email, by=BY_RECIPIENT))]
    asked = RecipientUnsubscribed(
        address=subscriber.email, subscriber_id=subscriber.id, until=after.expires_at, via=via
    )
    return [(subscriber.id, asked), ("suppression", RecipientSuppressed(suppression=after))]
