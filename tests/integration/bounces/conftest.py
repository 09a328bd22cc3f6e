"""An intake on a real server, with addresses and secrets of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from leadstream_bounces.intake import Intake
from leadstream_bounces.kept import newest
from leadstream_events import keys
from leadstream_events.log import read_entry
from leadstream_events.redis_client import Client, connect
from leadstream_events.schemas.events import EmailBounced, EmailComplained
from leadstream_events.settings import Settings
from leadstream_events.subscribers import SubscriberStore
from leadstream_mail.mail_token import mail_token
from leadstream_mail.return_path import return_path
from tests.support.sent_mail import SentMail

BASE, ABUSE = "bounce@leads.example.com", "fbl@leads.example.com"
SECRETS = (b"a secret of the tests",)


@dataclass(frozen=True, slots=True)
class Post:
    """The intake, and what has come of mails."""

    client: Client
    settings: Settings
    intake: Intake

    def path(self, mail: SentMail) -> str:
        """The return path of a mail."""
        return return_path(BASE, SECRETS, mail.lead_id, mail.email_id)

    def token(self, mail: SentMail) -> str:
        """The header `X-Leadstream-Mail` of a mail."""
        token = mail_token(SECRETS, mail.lead_id, mail.email_id)
        assert token is not None
        return token

    async def told(self) -> list[EmailBounced | EmailComplained]:
        """What is stored about mails."""
        found = [read_entry("", *entry).event for entry in await self.client.xrange(keys.stream(0, keys.OUTCOMES))]
        return [event.data for event in found if event and isinstance(event.data, EmailBounced | EmailComplained)]

    async def suppressed(self) -> dict[str, str]:
        """Suppressed addresses and why."""
        return {item.address: item.reason for item in await SubscriberStore(self.client).suppressions()}

    async def kept(self) -> list[str]:
        """Why mails are kept, the newest first."""
        return [item.why for item in await newest(self.client, 500)]

    async def nothing_happened(self) -> bool:
        """True when no event is stored and no address suppressed."""
        return not await self.told() and not await self.suppressed()


@pytest.fixture
async def post(redis_url: str) -> AsyncIterator[Post]:
    client = connect(redis_url, timeout_s=5.0)
    settings = Settings(redis_url=redis_url, return_path=BASE, abuse_to=ABUSE)
    yield Post(client, settings, Intake(client, settings, SECRETS))
    await client.aclose()
