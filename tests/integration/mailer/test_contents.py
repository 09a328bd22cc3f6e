"""What a mailer builds of a lead: once for all recipients, and ahead only of what it has read already."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from leadstream_events.envelope import make_event
from leadstream_events.errors import Permanent
from leadstream_events.ids import new_id
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client, connect
from leadstream_events.schemas.events import Kind, LeadReceived
from leadstream_events.schemas.subscriber import MailFormat
from leadstream_events.settings import Settings
from leadstream_events.vault import Vault
from leadstream_events.writer import PipelinedWriter
from leadstream_mail.build import MailBuilder
from leadstream_mail.templates import Templates
from leadstream_mailer.content import Contents, Place
from tests.integration.fallback.test_spool_and_merge import DANA
from tests.support.sealed import sealer


async def _stored(client: Client) -> Place:
    event = make_event(LeadReceived(lead=DANA), subject=new_id(), now=datetime.now(UTC))
    async with PipelinedWriter(client) as writer:
        log = StreamLog(client, writer, partitions=1, deadline_s=5.0, vault=Vault(client, sealer()))
        return 0, event.subject, (await log.append_lead(event, "f")).entry_id


def _contents(client: Client) -> Contents:
    builder = MailBuilder(Templates.load(None), "leads@example.com", "http://127.0.0.1:8000")
    return Contents(client, builder, sealer())


async def test_what_is_built_ahead_is_what_recipients_get_and_only_of_leads_that_were_read(settings: Settings) -> None:
    client = connect(settings.redis_url, timeout_s=5.0)
    place, contents = await _stored(client), _contents(client)
    assert not contents.build_ahead(place, Kind.NOTIFICATION, MailFormat.HTML)  # it would have to ask Redis
    await contents.read_ahead([place])
    assert contents.build_ahead(place, Kind.NOTIFICATION, MailFormat.HTML)
    assert not contents.build_ahead(place, Kind.NOTIFICATION, MailFormat.HTML)
    built = await contents.of(place, Kind.NOTIFICATION)
    assert built is await contents.of(place, Kind.NOTIFICATION)
    assert built is not await contents.of(place, Kind.WELCOME)
    assert built.rendered == (await _contents(client).of(place, Kind.NOTIFICATION)).rendered
    await client.aclose()


async def test_what_cannot_be_built_ahead_says_so_again_when_its_turn_comes(settings: Settings) -> None:
    client = connect(settings.redis_url, timeout_s=5.0)
    place, contents = await _stored(client), _contents(client)
    await contents.read_ahead([place])

    def fail(*_: object) -> None:
        raise Permanent("template", "fails on this lead")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Templates, "render", fail)
        for _ in range(2):
            with pytest.raises(Permanent):
                contents.build_ahead(place, Kind.NOTIFICATION, MailFormat.HTML)
        with pytest.raises(Permanent):
            await contents.of(place, Kind.NOTIFICATION)
    assert await contents.of(place, Kind.NOTIFICATION)
    await client.aclose()
