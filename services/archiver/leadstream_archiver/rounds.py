"""One round of the archiver: store what may go, then let it go.

The order is what keeps every entry: segments are durable before the manifest names them, the manifest is durable
before the group `archiver` moves, and the scripts that trim delete nothing that any group has not passed. Killed
anywhere, the next round goes on from the manifest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from redis.exceptions import ResponseError

from leadstream_archive.archive import Archive
from leadstream_archive.history import History
from leadstream_archive.manifest import NOTHING, Manifest
from leadstream_archive.segment import SEGMENT_ENTRIES, StoredEntry
from leadstream_archive.writing import ArchiveWriter
from leadstream_events import keys, scripts
from leadstream_events.entry_ids import entry_order as order
from leadstream_events.entry_ids import just_after, just_before
from leadstream_events.forgotten_leads import without_ledger
from leadstream_events.groups import working_on
from leadstream_events.redis_client import Client
from leadstream_events.retention import TRIM_STEP, TRIMMED, Kept, floors, retain
from leadstream_events.server_time import server_ms

# Read from Redis in one reply: a smaller page keeps other clients waiting less.
_PAGE = 1_000


@dataclass(slots=True)
class Done:
    """What a round did; entries by stream key. `more`: there is a backlog, so the next round should come at once."""

    archived: dict[str, int] = field(default_factory=dict)
    trimmed: dict[str, int] = field(default_factory=dict)
    kept: tuple[Kept, ...] = ()
    dropped: int = 0
    more: bool = False


class Rounds:
    """Does the rounds. Redis errors, `LostTurn`, `Unreachable` and `Corrupt` pass through; nothing is lost by them."""

    def __init__(
        self,
        client: Client,
        archive: Archive,
        *,
        partitions: int,
        retain_s: float | None,
        keep_s: float | None = None,
        name: str,
        segment_entries: int = SEGMENT_ENTRIES,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._client, self.archive, self._partitions = client, archive, partitions
        self._retain_s, self._keep_s, self._alive = retain_s, keep_s, alive
        self._most = segment_entries
        self.writer = ArchiveWriter(archive, name)
        self._stream = History(client, None)
        self._going: list[tuple[str, str]] = []

    async def dead_letters(self) -> Done:
        """Copies new dead letters at once: a letter can be closed only when it is archived (`redrive.lua`)."""
        done = Done()
        if not await self._new_letters():
            return done
        await self.writer.begin()
        for partition in range(self._partitions):
            key = keys.stream(partition, keys.DEAD)
            if await self._prepare(key):
                await self._append(key, None, done)
        await self._commit(done)
        return done

    async def _new_letters(self) -> bool:
        """Whether a stream of dead letters goes on after the archive, as far as this process knows it."""
        for partition in range(self._partitions):
            key = keys.stream(partition, keys.DEAD)
            newest = await self._client.xrevrange(key, count=1)
            if newest and order(newest[0][0].decode()) > order(self.archive.manifest.of(key).position):
                return True
        return False

    async def everything(self) -> Done:
        """A whole round over every stream."""
        done = Done()
        self._going = []
        await self.writer.begin()
        for partition in range(self._partitions):
            await self._prepare(keys.stream(partition, keys.DEAD))
        now_ms = await server_ms(self._client)
        if self._retain_s is not None:
            asked = f"{int(now_ms - self._retain_s * 1000)}-0"
            for key, floor in [each async for each in self._places(asked)]:
                await self._append(key, just_before(floor), done)
        if self._keep_s is not None:
            await self._drop(f"{int(now_ms - self._keep_s * 1000)}-0", done)
        await self._forget_keys()
        await self._commit(done)
        if self._retain_s is not None:
            await self._trim(asked, done)
        return done

    async def _places(self, asked: str) -> AsyncIterator[tuple[str, str]]:
        """Every stream that ages, with the lowest entry of it that must not be archived yet."""
        for partition in range(self._partitions):
            for stream in TRIMMED:
                key = keys.stream(partition, stream)
                if await self._prepare(key):
                    lowest = asked
                    async for floor in floors(self._client, partition, stream, working_on(stream)):
                        if floor.group != keys.ARCHIVER:
                            lowest = min(lowest, floor.entry, key=order)
                    yield key, lowest
        for key in unserved(self._partitions):
            if await self._client.exists(key):
                yield key, asked

    async def _prepare(self, key: str) -> bool:
        """Makes sure that the group stands where the archive ends, whoever moved or removed it; False: no stream."""
        if not await self._client.exists(key):
            return False
        await self._place_group(key, self.archive.manifest.of(key).position)
        return True

    async def _place_group(self, key: str, position: str) -> None:
        for group in await self._client.xinfo_groups(key):
            if group["name"] == keys.ARCHIVER.encode():
                if group["last-delivered-id"].decode() != position:
                    await self._client.xgroup_setid(key, keys.ARCHIVER, position)
                return
        try:
            await self._client.xgroup_create(key, keys.ARCHIVER, position)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another archiver was quicker
                raise

    async def _append(self, key: str, upto: str | None, done: Done) -> None:
        """Writes what comes after the archive's end, at most a segment's worth."""
        position = self.archive.manifest.of(key).position
        if upto is not None and order(upto) <= order(position):
            return
        count = await self.writer.append(key, self._pages(key, position, upto), self._most)
        if count:
            done.archived[key] = count
            done.more |= count >= self._most

    async def _pages(self, key: str, after: str, upto: str | None) -> AsyncIterator[list[StoredEntry]]:
        async for page in self._stream.pages_of(key, after, upto, min(_PAGE, self._most)):
            self._alive()
            yield page

    async def _commit(self, done: Done) -> Manifest:
        manifest = await self.writer.commit()
        for key in done.archived:
            if keys.name_of(key) in keys.STREAMS:
                await self._place_group(key, manifest.of(key).position)
            self._alive()
        return manifest

    async def _trim(self, asked: str, done: Done) -> None:
        groups = {stream: (*working_on(stream), keys.ARCHIVER) for stream in TRIMMED}
        assert self._retain_s is not None  # noqa: S101  -- the caller looked
        retained = await retain(self._client, self._partitions, self._retain_s, groups, keep_keys=True)
        done.trimmed = {stream: count for stream, count in retained.deleted.items() if count}
        done.kept = retained.kept
        for key in unserved(self._partitions):
            position = self.archive.manifest.of(key).position
            if position != NOTHING:
                before = min(asked, just_after(position), key=order)
                count = await self._trim_unserved(key, before)
                if count:
                    done.trimmed[keys.name_of(key)] = done.trimmed.get(keys.name_of(key), 0) + count

    async def _trim_unserved(self, key: str, before: str) -> int:
        total = 0
        while await self._client.exists(key):
            deleted, what, _ = await scripts.run(self._client, scripts.TRIM, [key, key], [before, TRIM_STEP, 0])
            total += int(deleted)
            if what != b"ok" or not deleted:
                break
        return total

    async def _drop(self, before: str, done: Done) -> None:
        """Takes out what `ARCHIVE_KEEP` no longer asks for, and never what is in the stream as well."""
        for key in list(self.archive.manifest.streams):
            oldest = await self._client.xrange(key, count=1)
            floor = min(before, oldest[0][0].decode(), key=order) if oldest else before
            part = self.archive.manifest.of(key)
            if keys.name_of(key) == keys.LEADS:
                self._going += [(key, s.last) for s in part.segments if order(s.last) < order(floor)][-1:]
            done.dropped += self.writer.drop_before(key, floor)

    async def _forget_keys(self) -> None:
        """The keys of leads that are nowhere any more; before the manifest forgets them, so that none stays behind.

        A lead whose id came again has a ledger, and keeps its key.
        """
        for stream, last in self._going:
            partition = int(stream.partition("{")[2].partition("}")[0])
            async for page in self.archive.pages(stream, upto=last):
                leads = {fields.get(b"subject", b"").decode(errors="replace") for _, fields in page}
                gone = await without_ledger(self._client, partition, leads)
                if gone:
                    await self._client.hdel(keys.lead_keys(partition), *gone)
                self._alive()
        self._going = []


def unserved(partitions: int) -> Sequence[str]:
    """Streams that no group works on."""
    own = [keys.stream(partition, keys.OPERATIONS) for partition in range(partitions)]
    return [*own, keys.SUBSCRIBER_EVENTS, keys.META_OPERATIONS]
