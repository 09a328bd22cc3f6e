"""Subscribers and suppressions: every change is an event and a new state in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.envelope import flat, make_event
from leadstream_events.errors import Conflict, NotFound
from leadstream_events.ids import new_id
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import (
    RecipientReleased,
    RecipientSuppressed,
    SubscriberAdded,
    SubscriberChanged,
    SubscriberRemoved,
)
from leadstream_events.schemas.lead import address_key
from leadstream_events.schemas.subscriber import Subscriber, SubscriberDraft, SubscriberPatch, Suppression

_PUT_KEYS = [keys.SUBSCRIBER_STATE, keys.SUBSCRIBER_EMAILS, keys.SUBSCRIBER_EVENTS]
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Usage:
    """What a subscriber has used up. `reserved` mails are requested and not settled yet."""

    sent: int = 0
    reserved: int = 0
    last_sent: datetime | None = None


class SubscriberStore:
    """Reads and changes subscribers. Raises `NotFound`, `Conflict` (address taken) and Redis errors as they are."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def all(self) -> list[Subscriber]:
        """Returns every subscriber, oldest first."""
        values = await self._client.hvals(keys.SUBSCRIBER_STATE)
        return sorted((Subscriber.model_validate_json(value) for value in values), key=lambda item: item.id)

    async def get(self, subscriber_id: str) -> Subscriber:
        """Returns one subscriber."""
        return (await self._stored(subscriber_id))[1]

    async def _stored(self, subscriber_id: str) -> tuple[bytes, Subscriber]:
        """The state byte for byte as it is stored, by older code perhaps, and read."""
        value = await self._client.hget(keys.SUBSCRIBER_STATE, subscriber_id)
        if value is None:
            raise NotFound(f"no subscriber {subscriber_id[:64]!r}")
        return value, Subscriber.model_validate_json(value)

    async def by_address(self, address: str) -> Subscriber | None:
        """Returns the subscriber with this address in any spelling of its case."""
        found = await self._client.hget(keys.SUBSCRIBER_EMAILS, address_key(address))
        return await self.get(found.decode()) if found else None

    async def add(self, draft: SubscriberDraft, now: datetime) -> Subscriber:
        """Adds a subscriber."""
        subscriber = Subscriber(id=new_id(), created_at=now, **draft.model_dump())
        event = make_event(SubscriberAdded(subscriber=subscriber), subject=subscriber.id, now=now)
        address = address_key(subscriber.email)
        reply = await scripts.run(
            self._client,
            scripts.SUBSCRIBER_PUT,
            _PUT_KEYS,
            [subscriber.id, "", subscriber.model_dump_json(), "", address, *flat(event)],
        )
        _refuse_taken(reply)
        return subscriber

    async def change(self, subscriber_id: str, patch: SubscriberPatch, now: datetime) -> Subscriber:
        """Changes the fields that the patch names; repeats itself when somebody else was faster."""
        changes = patch.model_dump(exclude_unset=True)
        for required in ("email", "name", "active", "states", "format"):
            if required in changes and changes[required] is None:
                del changes[required]
        for _ in range(_TRIES):
            stored, before = await self._stored(subscriber_id)
            after = before.model_copy(update=changes)
            event = make_event(SubscriberChanged(subscriber=after), subject=subscriber_id, now=now)
            reply = await scripts.run(
                self._client,
                scripts.SUBSCRIBER_PUT,
                _PUT_KEYS,
                [
                    subscriber_id,
                    stored,
                    after.model_dump_json(),
                    address_key(before.email),
                    address_key(after.email),
                    *flat(event),
                ],
            )
            if reply[0] != b"changed":
                _refuse_taken(reply)
                return after
        raise Conflict("the subscriber is being changed by somebody else; try again")

    async def remove(self, subscriber_id: str, now: datetime) -> None:
        """Removes a subscriber. Mails already requested are skipped when their turn comes."""
        event = make_event(SubscriberRemoved(subscriber_id=subscriber_id), subject=subscriber_id, now=now)
        for _ in range(_TRIES):
            stored, subscriber = await self._stored(subscriber_id)
            args: list[Argument] = [subscriber_id, stored, address_key(subscriber.email), *flat(event)]
            if await scripts.run(self._client, scripts.SUBSCRIBER_REMOVE, _PUT_KEYS, args):
                return
        raise Conflict("the subscriber is being changed by somebody else; try again")

    async def usage(self, subscriber_ids: Sequence[str]) -> Mapping[str, Usage]:
        """Returns what each subscriber has used up, in one round trip."""
        async with self._client.pipeline(transaction=False) as pipe:
            for subscriber_id in subscriber_ids:
                pipe.hmget(keys.quota(subscriber_id), "sent", "last_sent")
                pipe.scard(keys.reserved(subscriber_id))
            replies = await pipe.execute()
        return {
            subscriber_id: Usage(
                int(quota[0] or 0), reserved, datetime.fromisoformat(quota[1].decode()) if quota[1] else None
            )
            for subscriber_id, quota, reserved in zip(subscriber_ids, replies[::2], replies[1::2], strict=True)
        }

    async def suppressions(self) -> list[Suppression]:
        """Returns every suppression, also those that have run out."""
        values = await self._client.hvals(keys.SUPPRESSIONS)
        return sorted((Suppression.model_validate_json(value) for value in values), key=lambda item: item.created_at)

    async def suppress(self, suppression: Suppression, now: datetime) -> None:
        """Suppresses an address, or replaces its reason and expiry."""
        event = make_event(RecipientSuppressed(suppression=suppression), subject="suppression", now=now)
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hset(keys.SUPPRESSIONS, address_key(suppression.address), suppression.model_dump_json())
            pipe.execute_command("XADD", keys.SUBSCRIBER_EVENTS, "*", *flat(event))
            await pipe.execute()

    async def release(self, address: str, by: str, now: datetime) -> None:
        """Lifts a suppression; raises `NotFound` when there is none."""
        if not await self._client.hexists(keys.SUPPRESSIONS, address_key(address)):
            raise NotFound("this address is not suppressed")
        event = make_event(RecipientReleased(address=address, by=by), subject="suppression", now=now)
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hdel(keys.SUPPRESSIONS, address_key(address))
            pipe.delete(keys.soft_bounces(address_key(address)))
            pipe.execute_command("XADD", keys.SUBSCRIBER_EVENTS, "*", *flat(event))
            await pipe.execute()


def _refuse_taken(reply: list[bytes]) -> None:
    if reply[0] == b"taken":
        raise Conflict("email: another subscriber has this address")
    if reply[0] == b"changed":
        raise Conflict("the subscriber exists already")


def utc_now() -> datetime:
    """The wall clock, read at the edge only."""
    return datetime.now(UTC)
