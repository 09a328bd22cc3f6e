"""A whole house with every service, whose metrics can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from leadstream_events.schemas.events import Kind
from tests.support import scraping
from tests.support.house import House
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Seven processes on a server of their own; the archiver and the bounce receiver too."""
    folder = tmp_path_factory.mktemp("house")
    made = House(
        folder,
        appendfsync="no",
        LEADSTREAM_METRICS_LISTEN="127.0.0.1:0",
        LEADSTREAM_ARCHIVE_URL=str(folder / "archive"),
        LEADSTREAM_RETAIN="off",
        LEADSTREAM_RETURN_PATH="bounce@example.com",
        LEADSTREAM_BOUNCES_LISTEN="127.0.0.1:0",
        LEADSTREAM_RETRIES="0",
        LEADSTREAM_APPEND_DEADLINE="5s",  # on a busy machine the API would mail by itself, uncounted here
    )
    for name in ("archiver", "bounces"):
        made.add(name, name, [name])
    with made.start():
        fault = {"phase": "rcpt", "code": 550, "text": "5.1.1 no such user", "argument": "v1@", "times": None}
        made.inbox.post("/script", {"faults": [fault]})
        asyncio.run(_two_leads(made))
        yield made


async def _two_leads(house: House) -> None:
    """Five mails are sent; the one to the second visitor is refused."""
    await house.add_subscribers(2)
    await house.post_leads(2)
    mailer = scraping.metrics_base(house.processes["mailer"])

    async def told() -> bool:  # the mailer counts a mail, and says that it gave one up, after Redis has it
        text = scraping.scrape(mailer)
        failed = scraping.value(text, "leadstream_mails_failed_total", **{"class": "user_unknown"}) or 0
        sent = sum(scraping.value(text, "leadstream_mails_sent_total", kind=kind) or 0 for kind in Kind)
        return failed >= 1 and sent >= 5 and "mail given up" in house.processes["mailer"].text()

    await eventually(told, "one mail to fail and five to be sent")
    await eventually(house.nothing_pending, "every group to have finished")
