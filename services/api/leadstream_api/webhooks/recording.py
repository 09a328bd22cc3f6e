"""From what a provider told to what is stored: finds our mail, records the report, does what its recipient asked for.

Everything here may be done again: a report that is told twice is one, so a batch that failed half way is simply sent
anew. Redis errors pass through; the provider gets no 2xx then.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from leadstream_api.context import Services
from leadstream_api.webhooks.told import AHEAD, OLDEST, NotTaken, Provider, Told
from leadstream_events import keys
from leadstream_events.ids import email_id as email_id_of
from leadstream_events.reports import Report, record
from leadstream_events.schemas.events import Kind
from leadstream_events.unsubscribe_rules import Wish
from leadstream_events.unsubscribing import ask
from leadstream_mail.mail_token import read_mail_token

FOREIGN: Final = "foreign"
UNSUBSCRIBED: Final = "unsubscribed"
NOT_SUBSCRIBED: Final = "not_subscribed"
_REMEMBER: Final = OLDEST + 2 * AHEAD
_AT_ONCE = 16
# How far back a mail is looked for by its Message-ID alone, per partition.
_NEWEST_MAILS, _PAGE = 5_000, 1_000
_EMAIL_ID = re.compile(rb'"email_id":"([0-9a-f-]{36})"')

Mail = tuple[str, str]


async def record_all(
    services: Services, secrets: Sequence[bytes], provider: Provider, told: Sequence[Told], now: datetime
) -> Counter[str]:
    """Records every event and returns how often each came to what; raises the first error after all have ended."""
    mails = await _find(services, secrets, told)
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(event: Told, mail: Mail | None) -> str:
        if mail is None:
            return FOREIGN
        async with places:
            if event.unsubscribed:
                return await _unsubscribe(services, provider, event, mail, now)
            return await _report(services, provider, event, mail, now)

    results = await asyncio.gather(*map(one, told, mails), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return Counter(map(str, results))


async def claim(services: Services, provider: Provider, token: str, body: bytes) -> None:
    """406 when this signature came with another body before: where it does not cover the body, it is good for one."""
    key = keys.webhook(_digest(f"{provider} {token}".encode()))
    mine = _digest(body)
    life_s = int(_REMEMBER / timedelta(seconds=1))
    if await services.client.set(key, mine, nx=True, ex=life_s):
        return
    taken = await services.client.get(key)
    if taken is not None and taken.decode() != mine:
        raise NotTaken(406, "replayed-signature", "This signature was used for something else before")


async def _report(services: Services, provider: Provider, event: Told, mail: Mail, now: datetime) -> str:
    if event.report_class is None:
        return FOREIGN
    report = Report(
        lead_id=mail[0],
        email_id=mail[1],
        report_class=event.report_class,
        source=provider.value,
        report_id=event.report_id(provider),
        at=now,
        recipient=event.recipient,
        code=event.code,
        enhanced=event.enhanced,
        detail=event.detail,
        feedback_type=event.feedback_type,
    )
    return (await record(services.client, services.settings, report)).came.value


async def _unsubscribe(services: Services, provider: Provider, event: Told, mail: Mail, now: datetime) -> str:
    """Stops the mails of the subscriber that the mail went to. The same event later must not undo his coming back."""
    lead, email = mail
    subscriber = await services.subscribers.by_address(event.recipient) if event.recipient else None
    if subscriber is None or email_id_of(lead, Kind.NOTIFICATION, subscriber.id) != email:
        return NOT_SUBSCRIBED
    key = keys.webhook(_digest(event.report_id(provider).encode()))
    if await services.client.exists(key):
        return UNSUBSCRIBED
    await ask(services.client, subscriber, Wish.STOP, provider.value, now)
    await services.client.set(key, "1", ex=int(_REMEMBER / timedelta(seconds=1)))
    return UNSUBSCRIBED


async def _find(services: Services, secrets: Sequence[bytes], told: Sequence[Told]) -> list[Mail | None]:
    """Our mail of each event: by our token, by our headers, or by its Message-ID among the newest."""
    found: list[Mail | None] = []
    wanted: dict[int, str] = {}
    for number, event in enumerate(told):
        mail = read_mail_token(secrets, event.token) if event.token else None
        email = _email_id(event.message_id, services.settings.mail_from) if mail is None else None
        if email is not None and event.lead_id:
            mail = (event.lead_id[:200], email)
        elif email is not None:
            wanted[number] = email
        found.append(mail)
    if wanted:
        leads = await _leads_of(services, set(wanted.values()))
        for number, email in wanted.items():
            if email in leads:
                found[number] = (leads[email], email)
    return found


def _email_id(message_id: str | None, mail_from: str) -> str | None:
    """The id of a mail by its Message-ID, if that is one of ours."""
    left, _, right = (message_id or "").strip().strip("<>").rpartition("@")
    if right.casefold() != mail_from.rpartition("@")[2].casefold():
        return None
    try:
        return left if str(uuid.UUID(left)) == left else None
    except ValueError:
        return None


async def _leads_of(services: Services, wanted: set[str]) -> Mapping[str, str]:
    """Email id to lead id, of those among the newest mails."""
    found: dict[str, str] = {}
    for number in range(services.log.partitions):
        stream, end, left = keys.stream(number, keys.EMAILS), "+", _NEWEST_MAILS
        while left > 0 and wanted - found.keys():
            page = await services.client.xrevrange(stream, end, count=_PAGE)
            for _, fields in page:
                match = _EMAIL_ID.search(fields.get(b"data", b""))
                if match and match[1].decode() in wanted:
                    found[match[1].decode()] = fields.get(b"subject", b"").decode()
            if len(page) < _PAGE:
                break
            end, left = f"({page[-1][0].decode()}", left - _PAGE
    return found


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()
