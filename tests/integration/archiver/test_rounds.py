"""What a round archives and trims, and above all what it does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import obstore.store
import pytest

from leadstream_archive.archive import Archive
from leadstream_archive.errors import LostTurn
from leadstream_archive.stores import DiskStore, ObjectStore
from leadstream_events import keys, scripts
from leadstream_events.envelope import encode
from leadstream_events.redis_client import Client
from tests.integration.archiver.stored import Rig, add, add_letter, finish, until_done
from tests.support.entries import DEAD, LEADS, OUTCOMES, lead_event


@pytest.fixture(params=["disk", "objects"])
def rig(request: pytest.FixtureRequest, raw: Client, tmp_path: Path) -> Rig:
    """Rounds on each kind of store."""
    if request.param == "disk":
        return Rig(raw, Archive(DiskStore(tmp_path / "archive"), "a folder"))
    return Rig(raw, Archive(ObjectStore(obstore.store.MemoryStore()), "memory"))


@pytest.mark.parametrize("partitions", [1, 2])
async def test_everything_finished_is_archived_and_trimmed_and_read_once(rig: Rig, partitions: int) -> None:
    rig.partitions = partitions
    stored = await add(rig.client, partitions, 450)
    await finish(rig.client, partitions)
    await until_done(rig.rounds())
    for key, ids in stored.items():
        assert await rig.client.xlen(key) == 0
        assert await rig.read(key) == ids
    for partition in range(partitions):
        assert await rig.history.complete(partition, keys.LEADS)


async def test_what_is_young_stays(rig: Rig) -> None:
    stored = await add(rig.client, 1, 20)
    await finish(rig.client)
    done = await rig.rounds(retain_s=3600).everything()
    assert not done.archived and not done.trimmed and await rig.client.xlen(LEADS) == 20
    assert await rig.read(LEADS) == stored[LEADS]


async def test_a_group_that_never_started_holds_everything_and_is_named(rig: Rig) -> None:
    stored = await add(rig.client, 1, 20)
    await finish(rig.client, but=keys.QUOTA)
    done = await rig.rounds().everything()
    assert OUTCOMES not in done.archived and await rig.client.xlen(OUTCOMES) == 20
    assert [(each.stream, each.group) for each in done.kept] == [(keys.OUTCOMES, keys.QUOTA)]
    assert await rig.read(OUTCOMES) == stored[OUTCOMES]


async def test_a_dead_group_is_reported_and_holds_what_it_has_not_read(rig: Rig) -> None:
    await add(rig.client, 1, 20)
    await rig.client.xgroup_create(LEADS, "somebody", "0")
    await finish(rig.client)
    done = await rig.rounds().everything()
    assert [(each.stream, each.group) for each in done.kept] == [(keys.LEADS, "somebody")]
    assert LEADS not in done.archived and await rig.client.xlen(LEADS) == 20


async def test_nothing_pending_goes(rig: Rig) -> None:
    stored = await add(rig.client, 1, 20)
    await rig.client.xgroup_create(LEADS, keys.FANOUT, "0")
    await rig.client.xreadgroup(keys.FANOUT, "somebody", {LEADS: ">"}, count=8)
    await rig.client.xack(LEADS, keys.FANOUT, *stored[LEADS][:5])
    await finish(rig.client)
    done = await rig.rounds().everything()
    assert done.archived[LEADS] == 5 and await rig.client.xlen(LEADS) == 15
    assert await rig.read(LEADS) == stored[LEADS]


async def test_the_group_of_the_archive_keeps_others_from_trimming(rig: Rig) -> None:
    await add(rig.client, 1, 20)
    await finish(rig.client)
    await rig.rounds(retain_s=3600).everything()
    operations = keys.stream(0, keys.OPERATIONS)
    reply = await scripts.run(rig.client, scripts.TRIM, [LEADS, operations], ["9999999999999-0", 100, 0])
    assert reply == [0, b"unread", b"archiver"]


async def test_a_group_that_was_moved_is_put_back(rig: Rig) -> None:
    await add(rig.client, 1, 20)
    await finish(rig.client)
    rounds = rig.rounds(retain_s=3600)
    await rounds.everything()
    await rig.client.xgroup_setid(LEADS, keys.ARCHIVER, "$")
    await rounds.everything()
    (group,) = [g for g in await rig.client.xinfo_groups(LEADS) if g["name"] == b"archiver"]
    assert group["last-delivered-id"] == b"0-0"


async def test_dead_letters_are_copied_at_once_and_stay(rig: Rig) -> None:
    letters = [await add_letter(rig.client) for _ in range(3)]
    rounds = rig.rounds(retain_s=3600)
    await rounds.dead_letters()
    assert await rig.client.xlen(DEAD) == 3 and await rig.read(DEAD) == letters
    await rig.client.xdel(DEAD, letters[1])  # it was closed
    letters.append(await add_letter(rig.client))
    assert await rig.read(DEAD) == letters
    assert [i async for page in rig.history.newest(0, keys.DEAD) for i, _ in page] == letters[::-1]
    assert not (await rounds.everything()).trimmed
    assert await rig.history.missing(0, keys.DEAD) == 0


async def test_operations_and_subscriber_events_go_too(rig: Rig) -> None:
    places = [keys.stream(0, keys.OPERATIONS), keys.META_OPERATIONS, keys.SUBSCRIBER_EVENTS]
    ids = {key: [await rig.client.xadd(key, encode(lead_event())) for _ in range(5)] for key in places}
    await rig.rounds().everything()
    for key in places:
        assert await rig.client.xlen(key) == 0 and await rig.read(key) == ids[key]


async def test_two_archivers_at_once_lose_and_double_nothing(rig: Rig) -> None:
    other = Rig(rig.client, Archive(rig.archive.store, "the same"))
    stored = await add(rig.client, 1, 300)
    await finish(rig.client)

    async def work(mine: Rig, name: str) -> None:
        rounds = mine.rounds(name, most=20)
        for _ in range(200):
            try:
                if not (await rounds.everything()).more:
                    return
            except LostTurn:
                continue

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work(rig, "one"))
        tasks.create_task(work(other, "two"))
    await until_done(rig.rounds())
    for key, ids in stored.items():
        assert await rig.read(key) == ids and await rig.client.xlen(key) == 0


async def test_keep_lets_old_segments_go(rig: Rig) -> None:
    stored = await add(rig.client, 1, 30)
    await finish(rig.client)
    await until_done(rig.rounds())
    done = await rig.rounds(keep_s=-60).everything()
    assert done.dropped == 60 and await rig.read(LEADS) == []
    assert await rig.history.missing(0, keys.LEADS) == len(stored[LEADS])
