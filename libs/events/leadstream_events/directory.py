"""The directory: subscribers and suppressions in memory, kept current by their events.

`refresh()` costs one XREAD that usually finds nothing, so it is called before every batch: whoever decides on a mail
knows every change that was stored before. Folding is pure (`apply`); events carry the whole new state, so folding
one twice is harmless.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from leadstream_events import keys
from leadstream_events.address_digest import digest, is_digest
from leadstream_events.envelope import Event
from leadstream_events.log import read_entry
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import (
    RecipientReleased,
    RecipientSuppressed,
    SubscriberAdded,
    SubscriberChanged,
    SubscriberRemoved,
)
from leadstream_events.schemas.lead import address_key
from leadstream_events.schemas.subscriber import Subscriber, Suppression
from leadstream_events.unsubscribe_rules import REASON as UNSUBSCRIBED

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Who subscribes and who is suppressed, as of the event `position`."""

    subscribers: Mapping[str, Subscriber] = field(default_factory=dict)
    suppressions: Mapping[str, Suppression] = field(default_factory=dict)
    position: str = "0-0"
    # With these, addresses that are suppressed as digests are known too.
    secrets: tuple[bytes, ...] = ()

    def suppressed(self, address: str, now: datetime) -> Suppression | None:
        """The suppression in force for this address, in any spelling."""
        if not self.suppressions:  # before anything is computed for each mail
            return None
        found = self.suppressions.get(address_key(address))
        if found and found.holds(now):
            return found
        digests = (self.suppressions.get(digest(secret, address)) for secret in self.secrets)
        return next((each for each in digests if each and each.holds(now)), None)

    def why_skip(self, subscriber_id: str | None, address: str, now: datetime) -> str | None:
        """Why a mail to this subscriber (None: to the lead itself) is not to be sent any more; None when it is."""
        if subscriber_id is not None:
            subscriber = self.subscribers.get(subscriber_id)
            if subscriber is None:
                return "removed"
            if not subscriber.active:
                return "inactive"
        return self.why_silent(address, now)

    def why_silent(self, address: str, now: datetime) -> str | None:
        """Why this address gets no mail: its owner's wish, or `suppressed`; None when it gets mail."""
        found = self.suppressed(address, now)
        if found is None:
            return None
        return found.reason if found.reason == UNSUBSCRIBED else "suppressed"


def apply(snapshot: Snapshot, events: list[tuple[str, Event | None]]) -> Snapshot:
    """Returns the snapshot after these (entry id, event) pairs; entries that cannot be read change nothing."""
    subscribers, suppressions = dict(snapshot.subscribers), dict(snapshot.suppressions)
    for _, event in events:
        match event.data if event else None:
            case SubscriberAdded(subscriber=subscriber) | SubscriberChanged(subscriber=subscriber):
                subscribers[subscriber.id] = subscriber
            case SubscriberRemoved(subscriber_id=subscriber_id):
                subscribers.pop(subscriber_id, None)
            case RecipientSuppressed(suppression=suppression):
                suppressions[address_key(suppression.address)] = suppression
                if is_digest(suppression.address):  # it takes the place of the address itself
                    _drop_plain(suppressions, suppression.address, snapshot.secrets)
            case RecipientReleased(address=address):
                suppressions.pop(address_key(address), None)
            case _:
                pass
    return replace(
        snapshot,
        subscribers=subscribers,
        suppressions=suppressions,
        position=events[-1][0] if events else snapshot.position,
    )


def _drop_plain(suppressions: dict[str, Suppression], kept: str, secrets: tuple[bytes, ...]) -> None:
    for name in [each for each in suppressions if not is_digest(each)]:
        if any(digest(secret, name) == kept for secret in secrets):
            del suppressions[name]


class Directory:
    """Holds the current `Snapshot`. One per process; Redis errors pass through `refresh()` as they are."""

    def __init__(self, client: Client, secrets: Sequence[bytes] = ()) -> None:
        self._client = client
        self._loaded = False
        self._asked_s = 0.0
        self._lock = asyncio.Lock()
        self.snapshot = Snapshot(secrets=tuple(secrets))

    def use(self, secrets: Sequence[bytes]) -> None:
        """Takes the secrets of digests, where they become known later than the directory."""
        self.snapshot = replace(self.snapshot, secrets=tuple(secrets))

    async def refresh(self, max_age_s: float = 0.0) -> Snapshot:
        """Returns a snapshot that knows every change stored before this call, or `max_age_s` seconds before it."""
        if self._loaded and time.monotonic() - self._asked_s < max_age_s:
            return self.snapshot
        async with self._lock:
            self._asked_s = time.monotonic()
            if not self._loaded:
                self.snapshot = await self._load()
                self._loaded = True
                return self.snapshot
            while True:
                found = await self._client.xread({keys.SUBSCRIBER_EVENTS: self.snapshot.position}, count=_PAGE)
                if not found:
                    return self.snapshot
                entries = [read_entry(keys.SUBSCRIBER_EVENTS, *entry) for entry in found[0][1]]
                self.snapshot = apply(self.snapshot, [(entry.entry_id, entry.event) for entry in entries])

    def forget(self) -> None:
        """Makes the next `refresh()` read everything anew: call it when Redis may have lost data."""
        self._loaded = False

    async def _load(self) -> Snapshot:
        # The position is read first: changes that fall between are folded twice, which is harmless.
        newest = await self._client.xrevrange(keys.SUBSCRIBER_EVENTS, count=1)
        states = await self._client.hvals(keys.SUBSCRIBER_STATE)
        suppressions = await self._client.hvals(keys.SUPPRESSIONS)
        subscribers = [Subscriber.model_validate_json(value) for value in states]
        suppressed = [Suppression.model_validate_json(value) for value in suppressions]
        return Snapshot(
            {item.id: item for item in subscribers},
            {address_key(item.address): item for item in suppressed},
            newest[0][0].decode() if newest else "0-0",
            self.snapshot.secrets,
        )
