"""Every mail of the house has its own return path, whether the mailer sends it or the API while Redis is away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from leadstream_events.ids import WELCOME_RECIPIENT, email_id
from leadstream_events.schemas.events import Kind
from leadstream_mail.return_path import MailRef, read_return_path
from tests.integration.bounces.conftest import BASE
from tests.support.house import House
from tests.support.spool_facts import known_to_the_fallback, spool_facts
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


async def test_both_paths_name_the_mail_in_its_return_path_by_the_same_secret(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret of this test\n")
    house = House(tmp_path / "house", LEADSTREAM_RETURN_PATH=BASE, LEADSTREAM_SIGNING_SECRET_FILE=str(secret))
    with house:
        await asyncio.to_thread(house.start)
        leads = await house.post_leads(2)
        await house.settled(leads)
        await eventually(lambda: ready_for_an_outage(house), "the API to know enough to mail")
        house.server.kill()
        leads += await house.post_leads(2, first=100)

        async def arrived() -> bool:
            return len(house.inbox.get("/messages")) == 4

        await eventually(arrived, "the mails that the API sends itself", 60.0)
        senders = [mail["from"] for mail in house.inbox.get("/messages")]
    wanted = {MailRef(lead, email_id(lead, Kind.WELCOME, WELCOME_RECIPIENT)[:8]) for lead in leads}
    assert {read_return_path(sender, BASE, (b"a secret of this test",)) for sender in senders} == wanted


async def test_without_a_file_the_api_keeps_the_secret_that_redis_has(tmp_path: Path) -> None:
    with House(tmp_path / "house", LEADSTREAM_RETURN_PATH=BASE) as house:
        await asyncio.to_thread(house.start)
        leads = await house.post_leads(1)
        await house.settled(leads)
        kept = await _secret(house)
        await eventually(lambda: ready_for_an_outage(house, kept), "the API to know enough to mail")
        house.server.kill()
        await asyncio.to_thread(house.processes["api"].kill)
        await asyncio.to_thread(house.processes["api"].start)
        leads += await house.post_leads(1, first=100)

        async def arrived() -> bool:
            return len(house.inbox.get("/messages")) == 2

        await eventually(arrived, "the mail that the API sends itself", 60.0)
        senders = [mail["from"] for mail in house.inbox.get("/messages")]
    found = [read_return_path(sender, BASE, (kept,)) for sender in senders]
    assert {ref.lead_id for ref in found if ref} == set(leads)


async def ready_for_an_outage(house: House, secret: bytes = b"") -> bool:
    """True when the API has on disk whom it may mail, and this secret."""
    data_dir = house.folder / "data"
    kept = spool_facts(data_dir).get("secrets", "")
    return known_to_the_fallback(data_dir, house.subscribers) and secret.hex() in kept


async def _secret(house: House) -> bytes:
    from leadstream_events import keys
    from leadstream_events.redis_client import connect

    client = connect(house.server.url, timeout_s=5.0)
    try:
        found: bytes = await client.hget(keys.META, "signing_secret")
        return found
    finally:
        await client.aclose()
