"""The whole path in one process: HTTP in, Redis, fan-out, mailer, the scripted SMTP server. Nothing of it is faked."""

from __future__ import annotations

import asyncio
import email.header
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from leadstream_events import keys
from leadstream_events.ledger import Row, parse_row
from leadstream_events.log import read_entry
from leadstream_events.redis_client import connect
from leadstream_events.schemas.events import EventData
from leadstream_events.settings import Settings
from leadstream_events.vault import sealer_of
from leadstream_mail.from_settings import make_builder
from leadstream_mail.smtp.from_settings import make_pool
from leadstream_mailer import fanout, service
from tests.integration.api.conftest import api_client
from tests.support.smtp_server import Mail, Script, SmtpServer
from tests.support.waiting import DEADLINE_S, eventually
from tests.unit.mailer.mails import SENT, WELCOME_SENT, assert_wire_safe, header_names, parsed

_ID_CHARS = 36  # of a mail; the other fields of a ledger have shorter names
LEAD = {"full_name": "Dana Example", "email": "dana@example.com"}


@dataclass(slots=True)
class Pipeline:
    """A running house of one process; `client` looks at what is stored."""

    settings: Settings
    api: httpx.AsyncClient
    smtp: SmtpServer
    client: Any

    async def subscriber(self, email_address: str = "s1@example.com", name: str = "Sam", **fields: Any) -> str:
        """Adds a subscriber over HTTP; returns his id."""
        answer = await self.api.post("/subscribers", json={"email": email_address, "name": name, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def subscribers(self, count: int) -> list[str]:
        """Adds s1@example.com and so on."""
        return [await self.subscriber(f"s{number}@example.com", f"Sub {number}") for number in range(1, count + 1)]

    async def lead(self, **fields: Any) -> str:
        """Posts a lead; returns its id."""
        answer = await self.api.post("/leads", json=LEAD | fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["lead_id"])

    async def rows(self, lead_id: str) -> dict[str, Row]:
        """The ledger rows of a lead's mails."""
        found = await self.client.hgetall(keys.ledger(0, lead_id))
        return {name.decode(): parse_row(text.decode()) for name, text in found.items() if len(name) == _ID_CHARS}

    async def events(self, stream: str) -> list[EventData]:
        """What is in a stream, oldest first; every entry must be readable."""
        found = []
        for entry_id, fields in await self.client.xrange(keys.stream(0, stream)):
            event = read_entry(stream, entry_id, fields).event
            assert event is not None
            found.append(event.data)
        return found

    async def outcomes(self) -> list[EventData]:
        """The outcomes so far, oldest first."""
        return await self.events(keys.OUTCOMES)

    async def settled(self, within_s: float = DEADLINE_S) -> None:
        """Returns once fan-out and mailer have finished everything."""
        await eventually(self._settled, "every lead and mail to be finished", within_s)

    async def _settled(self) -> bool:
        groups = ((keys.LEADS, keys.FANOUT), (keys.EMAILS, keys.MAILER), (keys.OUTCOMES, keys.QUOTA))
        return all([await self._has_finished(keys.stream(0, name), group) for name, group in groups])

    async def _has_finished(self, stream: str, group: str) -> bool:
        if not await self.client.exists(stream):
            return False
        last = (await self.client.xinfo_stream(stream))["last-generated-id"]
        found = {item["name"]: item for item in await self.client.xinfo_groups(stream)}.get(group.encode())
        return bool(found and not found["pending"] and found["last-delivered-id"] == last)

    async def seek(self, stream: str, group: str, position: str = "0") -> None:
        """Sets a group back: it is handed everything after `position` once more."""
        await self.client.xgroup_setid(keys.stream(0, stream), group, position)

    def to(self, address: str) -> list[Mail]:
        """The mails that arrived for one address."""
        return [mail for mail in self.smtp.mails if mail.recipients == (address,)]


@asynccontextmanager
async def pipeline(
    settings: Settings,
    script: Script | None = None,
    *,
    mailers: int = 1,
    smtp_url: str = "",
    api_redis_url: str = "",
    **url: str,
) -> AsyncIterator[Pipeline]:
    """Runs everything until the block ends.

    `url` are arguments of `SmtpServer.url`; `{port}` in `smtp_url` is the port of the SMTP server. `api_redis_url` is
    the way by which the API alone reaches Redis.
    """
    async with AsyncExitStack() as stack:
        smtp = await stack.enter_async_context(SmtpServer(script))
        where = smtp_url.format(port=smtp.port) if smtp_url else smtp.url(**url)
        settings = settings.model_copy(update={"smtp_url": SecretStr(where)})
        client = connect(settings.redis_url, timeout_s=5.0)
        stack.push_async_callback(client.aclose)
        way = {"redis_url": api_redis_url, "append_deadline": 0.5} if api_redis_url else {}
        api = await stack.enter_async_context(api_client(settings.model_copy(update=way)))
        await _run_consumers(stack, settings, mailers)
        yield Pipeline(settings, api, smtp, client)


async def _run_consumers(stack: AsyncExitStack, settings: Settings, mailers: int) -> None:
    builder = make_builder(settings)
    consumers = await fanout.build(stack, settings)
    for _ in range(mailers):
        pool = make_pool(settings)
        stack.push_async_callback(pool.close)
        consumers += await service.build(stack, settings, pool, builder, sealer_of(settings))
    tasks = [asyncio.create_task(consumer.run()) for consumer in consumers]

    async def stop() -> None:
        for consumer in consumers:
            consumer.stop()
        await asyncio.gather(*tasks)

    stack.push_async_callback(stop)


def assert_ordinary(mail: Mail) -> None:
    """The mail has one recipient, exactly the headers of a plain lead's mail, and nothing bare on the wire."""
    assert len(mail.recipients) == 1
    assert header_names(mail.data) in (SENT, WELCOME_SENT)
    assert_wire_safe(mail.data)
    assert mail.bare_breaks == 0
    assert [entry.addr_spec for entry in parsed(mail.data)["to"].addresses] == list(mail.recipients)


def subject(mail: Mail) -> str:
    """The decoded subject."""
    return subject_of(mail.data)


def subject_of(data: bytes) -> str:
    """The decoded subject, read by the older decoder of the standard library."""
    head = data.partition(b"\r\n\r\n")[0].decode()
    found = re.search(r"(?m)^Subject: ((?:.*\r\n )*.*)\r$", head + "\r\n")
    assert found
    return str(email.header.make_header(email.header.decode_header(found[1].replace("\r\n", ""))))
