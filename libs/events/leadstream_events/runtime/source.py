"""What one consumer asks of Redis: read, take what is due, claim orphans, renew leases, leave.

Nothing here decides or retries; errors pass through as redis-py raises them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from leadstream_events import keys, scripts
from leadstream_events.entry_ids import entry_order, just_before
from leadstream_events.log import pairs
from leadstream_events.redis_client import Client
from leadstream_events.runtime.delivery import Delivery, Memory, make_delivery, read_delivery
from leadstream_events.runtime.policy import Claim, ConsumerPolicy, decide_claim

_CLAIM_PAGE = 100


async def ensure_group(client: Client, partition: int, group: str, stream: str) -> bool:
    """Creates a group that is missing, at its stored checkpoint or at 0, never at `$`; False when it is there."""
    mark = await client.hget(keys.checkpoints(partition), f"{group} {stream}")
    text = mark.decode() if mark else "0-0"
    start = just_before(text[1:]) if text.startswith("<") else text
    try:
        await client.xgroup_create(stream, group, start, mkstream=True)
    except ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise
        return False
    return True


@dataclass(frozen=True, slots=True)
class Claimed:
    """Orphans taken over, and poison found among them."""

    orphans: tuple[Delivery, ...] = ()
    poison: tuple[Delivery, ...] = ()


class GroupSource:
    """One consumer of one group on the streams of one partition.

    `client` answers at once; `blocking` is for XREADGROUP BLOCK alone and must have a socket timeout above the block.
    `memory` is shared with other groups of the process on the same streams.
    """

    def __init__(
        self,
        client: Client,
        blocking: Client,
        *,
        group: str,
        consumer: str,
        partition: int,
        streams: Sequence[str],
        policy: ConsumerPolicy,
        memory: Memory | None = None,
    ) -> None:
        self.client, self.blocking = client, blocking
        self._read = memory.read_delivery if memory else read_delivery
        blocking.set_response_callback("XREADGROUP", _as_it_is)
        self.group, self.consumer, self.partition = group, consumer, partition
        self.streams = [keys.stream(partition, name) for name in streams]
        self._policy = policy

    async def ensure_groups(self) -> list[str]:
        """Creates the group where it is missing, at its stored checkpoint or at 0, never at `$`; returns where."""
        return [each for each in self.streams if await ensure_group(self.client, self.partition, self.group, each)]

    async def read_new(self, count: int, block_s: float) -> list[Delivery]:
        """Waits up to `block_s` seconds, at 0 not at all, for entries new to the group (XREADGROUP >)."""
        reply = await self.blocking.xreadgroup(
            self.group,
            self.consumer,
            dict.fromkeys(self.streams, ">"),
            count=count,
            block=max(1, int(block_s * 1000)) if block_s > 0 else None,
        )
        return [
            self._read(self.partition, name, entry_id, flat)
            for stream, entries in reply or ()
            for name in (stream.decode(),)
            for entry_id, flat in entries
        ]

    async def take_due(self, count: int) -> tuple[list[Delivery], float | None]:
        """Takes parked entries whose time has come; also returns the seconds until the next one, if any."""
        names = [keys.name_of(stream) for stream in self.streams]
        next_ms, found = await scripts.run(
            self.client,
            scripts.DUE,
            [keys.due(self.partition, self.group), *self.streams],
            [self.group, self.consumer, count, *names],
        )
        deliveries = [
            make_delivery(self.partition, self.streams[number - 1], entry_id, pairs(fields) if fields else {})
            for number, entry_id, fields in found
        ]
        return deliveries, None if next_ms < 0 else next_ms / 1000

    async def claim_orphans(self, count: int, in_flight: Iterable[tuple[str, str]]) -> Claimed:
        """Takes over entries idle past their lease, and this consumer's own that it never saw (a lost reply) at once.

        `in_flight` is what it did see. Not to be called while a reading of this consumer is under way.
        """
        orphans: list[Delivery] = []
        poison: list[Delivery] = []
        known = set(in_flight)
        for stream in self.streams:
            for name in await self._owners(stream):
                own = name == self.consumer.encode()
                for delivery, verdict in await self._candidates(stream, name, known, own=own):
                    if verdict is Claim.DEAD_LETTER or not delivery.fields:
                        poison.append(delivery)
                    elif len(orphans) < count and await self._claim(delivery, own=own):
                        orphans.append(delivery)
        return Claimed(tuple(orphans), tuple(poison))

    async def _owners(self, stream: str) -> list[bytes]:
        consumers = await self.client.xinfo_consumers(stream, self.group)
        return [item["name"] for item in consumers if item["pending"] and item["name"] != keys.PARKED.encode()]

    async def _candidates(
        self, stream: str, owner: bytes, known: set[tuple[str, str]], *, own: bool
    ) -> list[tuple[Delivery, Claim]]:
        """One bounded page of an owner's idle entries; its next page comes with the next tick."""
        idle_ms = int(self._policy.idle_s(own=own) * 1000)
        page = await self.client.xpending_range(
            stream, self.group, "-", "+", _CLAIM_PAGE, consumername=owner, idle=idle_ms
        )
        page = [item for item in page if (stream, item["message_id"].decode()) not in known]
        async with self.client.pipeline(transaction=False) as pipe:
            for item in page:
                pipe.xrange(stream, item["message_id"], item["message_id"])
            bodies = await pipe.execute() if page else []
        out: list[tuple[Delivery, Claim]] = []
        for item, body in zip(page, bodies, strict=True):
            deliveries = item["times_delivered"]
            idle_s = item["time_since_delivered"] / 1000
            verdict = decide_claim(owner.decode(), idle_s, deliveries, self._policy, own=own)
            fields = body[0][1] if body else {}
            made = make_delivery(self.partition, stream, item["message_id"], fields, deliveries + 1)
            if verdict is not Claim.LEAVE:
                out.append((made, verdict))
        return out

    async def _claim(self, delivery: Delivery, *, own: bool) -> bool:
        """XCLAIM with the idle time of an orphan: of several claimers only the first gets it."""
        idle_ms = int(self._policy.idle_s(own=own) * 1000)
        got = await self.client.xclaim(delivery.stream, self.group, self.consumer, idle_ms, [delivery.entry_id])
        return bool(got)

    async def renew(self, places: Iterable[tuple[str, str]]) -> None:
        """Renews leases (XCLAIM JUSTID of one's own entries: it resets the idle time, not the delivery count)."""
        by_stream: dict[str, list[str]] = {}
        for stream, entry_id in places:
            by_stream.setdefault(stream, []).append(entry_id)
        for stream, ids in by_stream.items():
            mine = await self._still_mine(stream, ids)
            if mine:
                await self.client.xclaim(stream, self.group, self.consumer, 0, mine, justid=True)

    async def _still_mine(self, stream: str, ids: list[str]) -> list[str]:
        """Entries that another worker has taken over must not be taken back by a late renewal."""
        pending = await self.client.xpending_range(
            stream,
            self.group,
            min(ids, key=entry_order),
            max(ids, key=entry_order),
            10_000,
            consumername=self.consumer,
        )
        owned = {item["message_id"].decode() for item in pending}
        return [entry_id for entry_id in ids if entry_id in owned]

    async def unseen(self, in_flight: Iterable[tuple[str, str]]) -> list[Delivery]:
        """Entries pending for this consumer that it does not know of: the reply to their reading was cut off."""
        known = set(in_flight)
        out: list[Delivery] = []
        for stream in self.streams:
            page = await self.client.xpending_range(stream, self.group, "-", "+", 1000, consumername=self.consumer)
            ids = [item["message_id"] for item in page]
            out += [
                make_delivery(self.partition, stream, entry_id, {})
                for entry_id in ids
                if (stream, entry_id.decode()) not in known
            ]
        return out

    async def unread(self) -> int:
        """Entries that the group has not been handed yet, counted up to 1 per stream: enough to tell whether any."""
        count = 0
        for stream in self.streams:
            for group in await self.client.xinfo_groups(stream):
                if group["name"] == self.group.encode():
                    last = group["last-delivered-id"].decode()
                    count += len(await self.client.xrange(stream, f"({last}", "+", count=1))
        return count

    async def retire_dead_consumers(self) -> int:
        """Removes consumers that own nothing and were not seen for long; returns how many."""
        removed = 0
        limit_ms = self._policy.forget_consumers_after_s * 1000
        for stream in self.streams:
            for item in await self.client.xinfo_consumers(stream, self.group):
                name = item["name"].decode()
                if name not in (self.consumer, keys.PARKED) and not item["pending"] and item["idle"] > limit_ms:
                    removed += await scripts.run(self.client, scripts.RETIRE, [stream], [self.group, name])
        return removed

    async def leave(self) -> None:
        """Removes this consumer where it owns nothing."""
        for stream in self.streams:
            await scripts.run(self.client, scripts.RETIRE, [stream], [self.group, self.consumer])


def _as_it_is(reply: Any, **_: object) -> Any:
    """The reply of XREADGROUP without redis-py's dictionaries: what is in `Memory` already needs none."""
    return reply


def monotonic_s() -> float:
    """The process's monotonic clock, read at the edge only."""
    return time.monotonic()
