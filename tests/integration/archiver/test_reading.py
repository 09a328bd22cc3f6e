"""Leads that are in the archive alone are listed and shown as before; a damaged archive is an error and never a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadstream_archive.archive import Archive
from leadstream_archive.checking import check
from leadstream_archive.errors import Corrupt
from leadstream_archive.stores import DiskStore
from leadstream_events import keys
from leadstream_events.envelope import encode, make_event
from leadstream_events.ids import email_id, partition_of
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import EmailRequested, EmailSent, Kind
from leadstream_events.views import lead_page, lead_view
from leadstream_events.views_leads import LeadSummary
from leadstream_events.writer import PipelinedWriter
from tests.integration.archiver.stored import Rig, add, finish, until_done
from tests.support.entries import LEADS, lead_event, now


@pytest.fixture
def rig(raw: Client, tmp_path: Path) -> Rig:
    """Rounds on a disk, two partitions."""
    return Rig(raw, Archive(DiskStore(tmp_path / "archive"), "a folder"), partitions=2)


def log_of(rig: Rig) -> StreamLog:
    return StreamLog(
        rig.client, PipelinedWriter(rig.client), partitions=rig.partitions, deadline_s=5.0, older=rig.history
    )


async def add_whole(rig: Rig, lead: str) -> None:
    """A lead, its request and what became of it."""
    partition, mail = partition_of(lead, rig.partitions), email_id(lead, Kind.NOTIFICATION, "s-1")
    entry = await rig.client.xadd(keys.stream(partition, keys.LEADS), encode(lead_event(lead, state="CA")))
    requested = EmailRequested(
        email_id=mail, kind=Kind.NOTIFICATION, subscriber_id="s-1", to="a@example.com", lead_entry=entry.decode()
    )
    sent = EmailSent(
        email_id=mail, kind=Kind.NOTIFICATION, subscriber_id="s-1", attempt=2, message_id="m", code=250, reply="ok"
    )
    for stream, data in ((keys.EMAILS, requested), (keys.OUTCOMES, sent)):
        await rig.client.xadd(keys.stream(partition, stream), encode(make_event(data, subject=lead, now=now())))


async def test_a_lead_page_is_made_from_the_archive(rig: Rig) -> None:
    await add_whole(rig, "lead-a")
    await add(rig.client, 2, 30)
    await finish(rig.client, 2)
    await until_done(rig.rounds())
    view = await lead_view(log_of(rig), "lead-a")
    assert view is not None and view.lead is not None and view.lead.state == "CA"
    (mail,) = view.mails
    assert (mail.state, mail.attempts, mail.subscriber_id) == ("sent", 2, "s-1")
    assert [each.event for each in mail.timeline] == ["EmailRequested", "EmailSent"] and view.timeline_complete
    assert await lead_view(log_of(rig), "nobody") is None


async def test_the_list_of_leads_goes_on_in_the_archive(rig: Rig) -> None:
    await add_whole(rig, "lead-a")
    await add(rig.client, 2, 20)
    await finish(rig.client, 2)
    await until_done(rig.rounds())
    await add(rig.client, 2, 15)
    found: list[LeadSummary] = []
    cursor: str | None = None
    while True:
        page = await lead_page(log_of(rig), limit=4, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(found) == len({item.lead_id for item in found}) == 36
    assert [item.mails.sent for item in found if item.lead_id == "lead-a"] == [1]


@pytest.mark.parametrize("how", ["torn", "flipped", "gone"])
async def test_a_damaged_segment_is_named_by_reads_and_by_the_check(rig: Rig, how: str) -> None:
    rig.partitions = 1
    await add(rig.client, 1, 1200)
    await finish(rig.client)
    await until_done(rig.rounds(most=10_000))
    (segment,) = rig.archive.manifest.of(LEADS).segments
    assert isinstance(rig.archive.store, DiskStore)
    path = rig.archive.store.root / segment.name
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    else:
        content[len(content) // 3] ^= 0x40
        path.write_bytes(content[: len(content) // 2] if how == "torn" else content)
    with pytest.raises(Corrupt) as found:
        await rig.read(LEADS)
    assert found.value.name == segment.name
    problems = [each.name async for each in check(rig.archive) if each.problem]
    assert problems == [segment.name]
