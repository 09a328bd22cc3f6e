"""Mails that a mail server accepted, as fan-out and mailer leave them behind."""

from __future__ import annotations

from dataclasses import dataclass

from leadstream_events import keys
from leadstream_events.envelope import encode, make_event
from leadstream_events.ids import WELCOME_RECIPIENT, email_id, new_id, partition_of
from leadstream_events.ledger import Row, State
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import EmailRequested, EmailSent, Kind
from leadstream_events.schemas.subscriber import SubscriberDraft
from leadstream_events.subscribers import SubscriberStore
from tests.support.entries import now


@dataclass(frozen=True, slots=True)
class SentMail:
    """One accepted mail."""

    lead_id: str
    email_id: str
    address: str
    subscriber_id: str | None

    @property
    def message_id(self) -> str:
        """As it stands in the mail."""
        return f"<{self.email_id}@example.com>"


async def sent_mail(client: Client, address: str = "s1@example.com", *, partitions: int = 1) -> SentMail:
    """A notification to a subscriber, who is added if nobody has the address."""
    store = SubscriberStore(client)
    who = await store.by_address(address) or await store.add(SubscriberDraft(email=address, name="S"), now())
    lead_id = new_id()
    mail = SentMail(lead_id, email_id(lead_id, Kind.NOTIFICATION, who.id), address, who.id)
    await _store(client, mail, Kind.NOTIFICATION, partitions)
    return mail


async def sent_welcome(
    client: Client, address: str = "visitor@example.net", *, partitions: int = 1, lead_id: str = "",
    lead_entry: str = "1-1",
) -> SentMail:  # fmt: skip
    """The mail to the lead itself; without an address, as it is requested for a sealed lead."""
    lead_id = lead_id or new_id()
    mail = SentMail(lead_id, email_id(lead_id, Kind.WELCOME, WELCOME_RECIPIENT), address, None)
    await _store(client, mail, Kind.WELCOME, partitions, lead_entry)
    return mail


async def _store(client: Client, mail: SentMail, kind: Kind, partitions: int, lead_entry: str = "1-1") -> None:
    number = partition_of(mail.lead_id, partitions)
    who = mail.subscriber_id
    request = EmailRequested(
        email_id=mail.email_id, kind=kind, subscriber_id=who, to=mail.address, lead_entry=lead_entry
    )
    fields = encode(make_event(request, subject=mail.lead_id, now=now()))
    entry: bytes = await client.xadd(keys.stream(number, keys.EMAILS), fields)
    row = Row(State.SENT, 1, at_ms=int(now().timestamp() * 1000), entry=entry.decode())
    await client.hset(keys.ledger(number, mail.lead_id), mapping={"lead": "1-1 f", mail.email_id: str(row)})
    told = EmailSent(
        email_id=mail.email_id, kind=kind, subscriber_id=who, attempt=1, code=250, reply="2.0.0 OK",
        message_id=mail.message_id,
    )  # fmt: skip
    await client.xadd(keys.stream(number, keys.OUTCOMES), encode(make_event(told, subject=mail.lead_id, now=now())))
