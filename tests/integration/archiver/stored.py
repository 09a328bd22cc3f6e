"""Streams filled as the services fill them, and groups that have finished everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from leadstream_archive.archive import Archive
from leadstream_archive.history import History
from leadstream_archiver.rounds import Rounds
from leadstream_events import keys
from leadstream_events.envelope import encode, make_event
from leadstream_events.groups import working_on
from leadstream_events.ids import new_id, partition_of
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import EmailSkipped, Kind
from tests.support.entries import lead_event, now

WORKED_ON = (keys.LEADS, keys.EMAILS, keys.OUTCOMES)


async def add(client: Client, partitions: int, leads: int) -> dict[str, list[bytes]]:
    """Stores leads with an outcome each; returns entry ids by stream key."""
    out: dict[str, list[bytes]] = {}
    pipe = client.pipeline(transaction=False)
    order: list[str] = []
    for _ in range(leads):
        lead = new_id()
        partition = partition_of(lead, partitions)
        skipped = EmailSkipped(email_id=new_id(), kind=Kind.NOTIFICATION, subscriber_id="s", reason="inactive")
        for stream, event in (
            (keys.LEADS, lead_event(lead)),
            (keys.OUTCOMES, make_event(skipped, subject=lead, now=now())),
        ):
            key = keys.stream(partition, stream)
            order.append(key)
            pipe.xadd(key, encode(event))
    for key, entry_id in zip(order, await pipe.execute(), strict=True):
        out.setdefault(key, []).append(entry_id)
    return out


async def add_letter(client: Client, partition: int = 0) -> bytes:
    """A dead letter, not readable as an event: bytes are archived all the same."""
    fields: Any = {b"type": b"?", b"subject": b"x", b"data": b'{"group": "mailer"}', b"odd": b"\xff"}
    entry_id: bytes = await client.xadd(keys.stream(partition, keys.DEAD), fields)
    return entry_id


async def finish(client: Client, partitions: int = 1, *, but: str = "") -> None:
    """Every group but one has finished everything."""
    for partition in range(partitions):
        for stream in WORKED_ON:
            key = keys.stream(partition, stream)
            there = {g["name"].decode() for g in await client.xinfo_groups(key)} if await client.exists(key) else set()
            for group in working_on(stream):
                if group == but:
                    continue
                if group in there:
                    await client.xgroup_setid(key, group, "$")
                else:
                    await client.xgroup_create(key, group, "$", mkstream=True)


@dataclass
class Rig:
    """An archiver's rounds on a server, and what can be read."""

    client: Client
    archive: Archive
    partitions: int = 1

    def rounds(self, name: str = "one", *, retain_s: float = -60.0, most: int = 100, **options: Any) -> Rounds:
        """Rounds that archive whatever is older than a minute from now: everything."""
        return Rounds(
            self.client, self.archive, partitions=self.partitions, retain_s=retain_s, name=name,
            segment_entries=most, **options,
        )  # fmt: skip

    @property
    def history(self) -> History:
        """Archive and streams as one, by eyes of its own."""
        return History(self.client, Archive(self.archive.store, "another reader"))

    async def read(self, key: str) -> list[bytes]:
        """Every entry id of a stream."""
        return [entry_id async for page in self.history.pages_of(key) for entry_id, _ in page]


async def until_done(rounds: Rounds) -> None:
    """Whole rounds until there is no more to do."""
    while (await rounds.everything()).more:
        pass
