"""What is written is read once, from archive and stream as one, by two writers too."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.asyncio import Redis

from leadstream_archive.archive import Archive
from leadstream_archive.errors import LostTurn
from leadstream_archive.history import History
from leadstream_archive.writing import GRACE_S, ArchiveWriter
from leadstream_events import keys
from leadstream_events.envelope import encode
from tests.support.entries import LEADS, lead_event


async def fill(client: Redis, count: int) -> list[bytes]:
    ids: list[Any] = []
    for number in range(count):
        fields: Any = encode(lead_event(f"lead-{number}"))
        if number % 10 == 7:
            fields = {b"strange": b"\xff\x00", b"subject": f"lead-{number}".encode()}
        ids.append(await client.xadd(LEADS, fields))
    return ids


async def archive_upto(client: Redis, archive: Archive, upto: bytes, name: str = "test") -> ArchiveWriter:
    writer = ArchiveWriter(archive, name)
    position = (await writer.begin()).of(LEADS).position
    await writer.append(LEADS, History(client, None).pages(0, keys.LEADS, position, upto.decode()))
    await writer.commit()
    return writer


async def everything(history: History, **options: Any) -> list[bytes]:
    return [entry_id async for page in history.pages(0, keys.LEADS, **options) for entry_id, _ in page]


async def backwards(history: History, **options: Any) -> list[bytes]:
    return [entry_id async for page in history.newest(0, keys.LEADS, **options) for entry_id, _ in page]


async def test_history_is_one_whatever_was_trimmed(raw: Redis, archive: Archive) -> None:
    ids = await fill(raw, 50)
    fields: Any = dict(cast(Any, await raw.xrange(LEADS)))
    history = History(raw, archive)
    assert await everything(history) == ids and await history.complete(0, keys.LEADS)
    for upto, trimmed in ((20, 0), (30, 25), (40, 40)):
        await archive_upto(raw, archive, ids[upto - 1])
        await raw.xtrim(LEADS, minid=ids[trimmed], approximate=False)
        assert await everything(history, count=7) == ids
        assert await backwards(history, count=7) == ids[::-1]
        assert await everything(history, after=ids[9].decode(), upto=ids[44].decode()) == ids[10:45]
        assert await backwards(history, before=ids[45].decode(), first=ids[10].decode()) == ids[10:45][::-1]
        assert await history.missing(0, keys.LEADS) == 0
    for entry_id in ids:
        assert await history.entry(0, keys.LEADS, entry_id.decode()) == (entry_id, fields[entry_id])
    assert await history.entry(0, keys.LEADS, "5-5") is None
    assert [found[1] for found in await history.archived_of_lead(0, "lead-7")] == [ids[7]]
    assert [found[1] for found in await history.archived_of_lead(0, "lead-45")] == []
    await raw.xtrim(LEADS, minid=ids[42], approximate=False)
    assert await history.missing(0, keys.LEADS) == 2


async def test_reading_goes_on_while_what_it_reads_is_archived_and_trimmed(raw: Redis, archive: Archive) -> None:
    ids = await fill(raw, 60)
    seen: list[bytes] = []
    async for page in History(raw, archive).pages(0, keys.LEADS, count=5):
        seen += [entry_id for entry_id, _ in page]
        # The archive is always further than the reader, and the stream is emptied under his feet.
        upto = min(len(seen) + 12, 60)
        await archive_upto(raw, archive, ids[upto - 1])
        await raw.xtrim(LEADS, minid=ids[upto - 1], approximate=False)
    assert seen == ids


async def test_reading_backwards_too(raw: Redis, archive: Archive) -> None:
    ids = await fill(raw, 60)
    await archive_upto(raw, archive, ids[10])
    seen: list[bytes] = []
    async for page in History(raw, archive).newest(0, keys.LEADS, count=5):
        seen += [entry_id for entry_id, _ in page]
        await archive_upto(raw, archive, ids[40])
        await raw.xtrim(LEADS, minid=ids[40], approximate=False)
    assert seen == ids[::-1]


async def test_small_segments_become_large_ones(raw: Redis, archive: Archive) -> None:
    ids = await fill(raw, 64)
    for number in range(64):
        await archive_upto(raw, archive, ids[number])
        assert len(archive.manifest.of(LEADS).segments) <= 7
    assert len(archive.manifest.of(LEADS).segments) == 1
    assert archive.manifest.of(LEADS).entries == 64
    assert await everything(History(raw, Archive(archive.store, "again"))) == ids


async def test_a_reader_with_an_old_manifest_finds_its_way(raw: Redis, archive: Archive) -> None:
    ids = await fill(raw, 20)
    await archive_upto(raw, archive, ids[4])
    old = Archive(archive.store, "old")
    await old.refresh()
    writer = await archive_upto(raw, archive, ids[14])
    gone = list(archive.manifest.superseded)
    assert gone and await writer.sweep() == 0  # readers may be at it
    archive.store.delete(gone)
    assert [entry_id async for page in old.pages(LEADS) for entry_id, _ in page] == ids[:15]


async def test_of_two_writers_one_loses_and_nothing_is_lost(raw: Redis, archive: Archive) -> None:
    ids = await fill(raw, 20)
    other = Archive(archive.store, "the same")
    slow, quick = ArchiveWriter(archive, "slow"), ArchiveWriter(other, "quick")
    stream = History(raw, None)
    await slow.begin()
    await slow.append(LEADS, stream.pages(0, keys.LEADS, upto=ids[9].decode()))
    await quick.begin()
    await quick.append(LEADS, stream.pages(0, keys.LEADS, upto=ids[14].decode()))
    await quick.commit()
    with pytest.raises(LostTurn):
        await slow.commit()
    assert (await archive.refresh()).writer == "quick"
    assert await everything(History(raw, archive)) == ids


async def test_a_writer_that_slept_for_ages_loses_too(raw: Redis, archive: Archive) -> None:
    ids = await fill(raw, 40)
    asleep = ArchiveWriter(Archive(archive.store, "the same"), "asleep")
    await asleep.begin()
    await asleep.append(LEADS, History(raw, None).pages(0, keys.LEADS, upto=ids[9].decode()))
    for number in range(30):
        writer = await archive_upto(raw, archive, ids[number])
    await writer.sweep()
    assert not any("manifest-000000000001" in each.name for each in archive.store.list("manifests/"))
    with pytest.raises(LostTurn):
        await asleep.commit()
    assert await everything(History(raw, Archive(archive.store, "again"))) == ids


async def test_what_nobody_needs_is_swept_up(raw: Redis, archive: Archive) -> None:
    ids = await fill(raw, 30)
    for number in range(30):
        await archive_upto(raw, archive, ids[number])
    import time

    later = ArchiveWriter(archive, "later", clock=lambda: time.time() + GRACE_S + 60)
    await later.begin()
    assert await later.sweep() > 20
    assert {each.name for each in archive.store.list("segments/")} == {
        segment.name for segment in archive.manifest.of(LEADS).segments
    }
    assert await everything(History(raw, Archive(archive.store, "again"))) == ids


async def test_keep_drops_whole_segments_and_says_so(raw: Redis, archive: Archive) -> None:
    ids = await fill(raw, 10)
    await archive_upto(raw, archive, ids[-1])
    writer = ArchiveWriter(archive, "test")
    await writer.begin()
    await raw.xtrim(LEADS, maxlen=0, approximate=False)
    assert writer.drop_before(LEADS, ids[-1].decode()) == 0
    assert writer.drop_before(LEADS, "9999999999999-0") == 10
    await writer.commit()
    history = History(raw, archive)
    assert await everything(history) == [] and await history.missing(0, keys.LEADS) == 10
