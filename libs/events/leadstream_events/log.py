"""The stream log: appends leads once, and reads entries back.

An append that was answered is in Redis; whether it is on its disk too is what `durability()` tells.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from leadstream_events import keys, scripts
from leadstream_events.envelope import Event, decode, flat
from leadstream_events.errors import Backpressure, Conflict, Malformed, RedisCause
from leadstream_events.ids import partition_of
from leadstream_events.redis_client import Client
from leadstream_events.sealed_leads import SealedLead
from leadstream_events.writer import PipelinedWriter

if TYPE_CHECKING:
    from leadstream_events.older import Older
    from leadstream_events.vault import Vault

RawFields = dict[bytes, bytes]
_DURABILITY_AGE_S = 10.0
_CLOCK_AGE_S = 30.0
_TOO_LATE, _ERASED = -2, -3


class Durability(StrEnum):
    """Where an accepted lead is: in the server's memory, on its disk, or on this machine's disk."""

    MEMORY = "memory"
    FSYNCED = "fsynced"
    SPOOLED = "spooled"


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to an append. `repeated`: the same body was there before."""

    entry_id: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored entry; `event` is None when it cannot be read, and `problem` says why."""

    stream: str
    entry_id: str
    fields: RawFields
    event: Event | None
    problem: Malformed | None = None


def read_entry(stream: str, entry_id: bytes, fields: RawFields) -> Entry:
    """Decodes an entry without ever raising."""
    try:
        return Entry(stream, entry_id.decode(), fields, decode(fields))
    except Malformed as problem:
        return Entry(stream, entry_id.decode(), fields, None, problem)


def pairs(flat_fields: Sequence[bytes]) -> RawFields:
    """Turns the flat field list of a script's reply into a mapping."""
    return dict(zip(flat_fields[::2], flat_fields[1::2], strict=True))


class ServerClock:
    """What a server's clock shows, in ms, judged from its answers.

    The answer left the server before it came in, so the estimate is never ahead of the server's clock: a deadline on
    it is never later than meant. A server whose clock is set back meanwhile is noticed after at most 30 s.
    """

    def __init__(self) -> None:
        self._offset_ms = 0.0
        self._noted_s = -_CLOCK_AGE_S

    def note(self, server_ms: int, now_s: float) -> None:
        """Takes in what an answer said; `now_s` (monotonic) is when it came in. The latest estimate counts most."""
        offset_ms = server_ms - now_s * 1000
        if offset_ms > self._offset_ms or now_s - self._noted_s > _CLOCK_AGE_S / 3:
            self._offset_ms, self._noted_s = offset_ms, now_s

    def forget(self) -> None:
        """The next answer may be another server's."""
        self._noted_s = -_CLOCK_AGE_S

    def at(self, then_s: float, now_s: float) -> int | None:
        """What the clock shows at `then_s` (monotonic), or None when nothing is known of it."""
        return None if now_s - self._noted_s >= _CLOCK_AGE_S else int(self._offset_ms + then_s * 1000)


class StreamLog:
    """Appends and reads. `client` must not retry by itself (`redis_client.connect`).

    `vault` seals what is appended and opens what is read; without one leads are stored in the clear. With `older`
    reads go on in the archive.
    """

    def __init__(
        self,
        client: Client,
        writer: PipelinedWriter,
        *,
        partitions: int,
        deadline_s: float,
        vault: Vault | None = None,
        older: Older | None = None,
    ) -> None:
        self.client = client
        self.vault, self.older = vault, older
        self.partitions = partitions
        self._writer = writer
        self._deadline_s = deadline_s
        self._durability = (Durability.MEMORY, -_DURABILITY_AGE_S)
        self._clocks = [ServerClock() for _ in range(partitions)]

    def partition(self, lead_id: str) -> int:
        """The partition of a lead."""
        return partition_of(lead_id, self.partitions)

    async def append_lead(self, event: Event, fingerprint: str) -> Appended:
        """Stores a LeadReceived once per lead id, sealed, with its key in the same step.

        `fingerprint` (no blanks) stands for the body: the same one gives the first answer again, another one raises
        `Conflict`. Raises `Backpressure` when Redis did not answer in time; the lead may be stored all the same, and
        asking again with the same lead id is safe. A server that takes the append up only after the deadline (it was
        frozen) stores nothing: the deadline goes along, on the server's own clock. A lead that was erased is refused
        with `Conflict`.
        """
        started_s = time.monotonic()
        sealed = self.vault.sealer.seal(event) if self.vault else SealedLead(event)
        partition = self.partition(event.subject)
        deadline_ms = await self.server_ms(partition, started_s + self._deadline_s)
        left_s = self._deadline_s - (time.monotonic() - started_s)
        args: list[str | int] = [fingerprint, deadline_ms, event.subject, sealed.key, *flat(sealed.event)]
        reply = await self._append(partition, event.subject, args, left_s)
        if reply[0] == -1:
            raise Conflict("the idempotency key was used before with another body")
        if reply[0] == _ERASED:
            raise Conflict("the lead that this idempotency key stands for was erased")
        if reply[0] == _TOO_LATE:
            raise Backpressure(RedisCause.TIMEOUT, "the append came too late, so nothing was stored")
        return Appended(reply[1].decode(), repeated=reply[0] == 0)

    async def server_ms(self, partition: int, then_s: float) -> int:
        """What the clock of the partition's server shows at `then_s` (monotonic), never too much.

        Asks the server if nothing is known of its clock; raises `Backpressure` when it does not tell in time.
        """
        known = self._clocks[partition].at(then_s, time.monotonic())
        if known is None:
            await self._append(partition, "", ["", 0], self._deadline_s)
            known = self._clocks[partition].at(then_s, time.monotonic())
        assert known is not None  # noqa: S101  -- an answer was noted just now
        return known

    async def _append(self, partition: int, lead_id: str, args: Sequence[str | int], deadline_s: float) -> Any:
        try:
            reply = await self._writer.call(
                scripts.APPEND,
                [keys.stream(partition, keys.LEADS), keys.ledger(partition, lead_id), keys.lead_keys(partition)],
                args,
                deadline_s=deadline_s,
            )
        except Backpressure:
            self._clocks[partition].forget()
            raise
        self._clocks[partition].note(reply[2], time.monotonic())
        return reply

    async def opened(self, entries: Sequence[Entry]) -> list[Entry]:
        """The entries with their leads opened, in one round trip; see `Vault.open`."""
        return await self.vault.open(entries) if self.vault else list(entries)

    async def read(self, stream: str, entry_id: str) -> Entry | None:
        """Returns one entry by its id (XRANGE), or None."""
        return (await self.read_many([(stream, entry_id)]))[0]

    async def read_many(self, places: Sequence[tuple[str, str]]) -> list[Entry | None]:
        """Returns the entries at (stream, entry id), in one round trip; None where there is none any more."""
        if self.older is not None:
            stored = await self.older.entries_at(places)
            return [
                read_entry(stream, *entry) if entry else None for (stream, _), entry in zip(places, stored, strict=True)
            ]
        async with self.client.pipeline(transaction=False) as pipe:
            for stream, entry_id in places:
                pipe.xrange(stream, entry_id, entry_id)
            found: list[Any] = await pipe.execute()
        return [
            read_entry(stream, *entries[0]) if entries else None
            for (stream, _), entries in zip(places, found, strict=True)
        ]

    async def newest(self, stream: str, count: int, before: str = "+") -> list[Entry]:
        """Returns up to `count` entries, newest first, older than `before` (XREVRANGE)."""
        end = before if before == "+" else f"({before}"
        return [read_entry(stream, *entry) for entry in await self.client.xrevrange(stream, end, "-", count=count)]

    @property
    def last_durability(self) -> Durability:
        """What `durability()` said last; asks nobody."""
        return self._durability[0]

    async def durability(self) -> Durability:
        """What an answered append means on this server: only `appendfsync always` waits for the disk.

        Asked again after ten seconds. A server that does not tell (CONFIG is often forbidden) counts as memory.
        """
        value, asked_at = self._durability
        now = time.monotonic()
        if now - asked_at < _DURABILITY_AGE_S:
            return value
        self._durability = (value, now)
        try:
            async with asyncio.timeout(self._deadline_s):
                found = await self.client.config_get("appendonly", "appendfsync")
            on = found.get("appendonly") == "yes" and found.get("appendfsync") == "always"
            value = Durability.FSYNCED if on else Durability.MEMORY
        except (RedisError, TimeoutError, OSError):
            value = Durability.MEMORY
        self._durability = (value, now)
        return value
