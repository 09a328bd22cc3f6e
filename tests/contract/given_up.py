"""Mails that were given up, as fan-out and mailer leave them, and what is to be seen of them afterwards."""

from __future__ import annotations

from leadstream_events import keys
from leadstream_events.envelope import Event, encode, make_event
from leadstream_events.ids import email_id
from leadstream_events.ledger import Row, State, parse_row
from leadstream_events.log import read_entry
from leadstream_events.redis_client import Client
from leadstream_events.redrive_rules import Actor
from leadstream_events.reservations import Reservation, reserve
from leadstream_events.runtime.delivery import Delivery, dead_letter, make_delivery
from leadstream_events.schemas.events import EmailFailed, EmailRequested, EmailSkipped, EventData, Kind
from leadstream_events.schemas.subscriber import SubscriberDraft
from leadstream_events.settings import Settings
from leadstream_events.subscribers import SubscriberStore
from leadstream_mailer.fanout import Quota
from tests.support.entries import EMAILS, OUTCOMES, now

LEAD = "01900000-0000-7000-8000-000000000001"
WHO = Actor("tests", "address corrected")


async def subscriber(client: Client, purchased: int | None = None, address: str = "s@example.com") -> str:
    draft = SubscriberDraft(email=address, name="S", leads_purchased=purchased)
    return (await SubscriberStore(client).add(draft, now())).id


async def given_up(
    client: Client, who: str | None, *, state: State = State.FAILED, attempts: int = 4, cause: str = "smtp_550"
) -> tuple[str, str]:
    """A mail that was reserved, requested, tried and given up, as fan-out and mailer leave it; (mail id, letter)."""
    mail = email_id(LEAD, Kind.NOTIFICATION, who or "-")
    if who:
        await reserve(client, [Reservation(mail, who, -1)])
    data = EmailRequested(
        email_id=mail, kind=Kind.NOTIFICATION, subscriber_id=who, to="s@example.com", lead_entry="1-1"
    )
    event = make_event(data, subject=LEAD, now=now())
    entry: bytes = await client.xadd(EMAILS, encode(event))
    return mail, await fail(client, event, entry, state=state, attempts=attempts, cause=cause)


async def fail(
    client: Client,
    event: Event,
    entry: bytes,
    *,
    state: State = State.FAILED,
    attempts: int = 4,
    cause: str = "smtp_550",
) -> str:
    """Gives up the mail of this request; returns the entry id of the letter."""
    assert isinstance(event.data, EmailRequested)
    mail = event.data
    delivery = Delivery(0, EMAILS, entry.decode(), {k.encode(): v.encode() for k, v in encode(event).items()}, event)
    row = Row(state, attempts, at_ms=int(now().timestamp() * 1000), entry=entry.decode())
    await client.hset(keys.ledger(0, LEAD), mail.email_id, str(row))
    if state is State.FAILED:
        told = EmailFailed(
            email_id=mail.email_id, kind=mail.kind, subscriber_id=mail.subscriber_id, attempt=attempts, cause=cause,
            reservation=mail.reservation,
        )  # fmt: skip
        await client.xadd(OUTCOMES, encode(make_event(told, subject=LEAD, now=now())))
    effect = dead_letter(delivery, keys.MAILER, cause, "no such user", now())
    letter: bytes = await client.execute_command("XADD", effect.key, *effect.args)
    return letter.decode()


async def skipped(client: Client, who: str, reason: str) -> str:
    """A mail that was reserved, requested and then skipped; returns its id."""
    mail = email_id(LEAD, Kind.NOTIFICATION, f"{who} {reason}")
    purchased = (await SubscriberStore(client).get(who)).leads_purchased
    await reserve(client, [Reservation(mail, who, -1 if purchased is None else purchased)])
    data = EmailRequested(
        email_id=mail, kind=Kind.NOTIFICATION, subscriber_id=who, to="s@example.com", lead_entry="1-1"
    )
    entry: bytes = await client.xadd(EMAILS, encode(make_event(data, subject=LEAD, now=now())))
    row = Row(State.SKIPPED, at_ms=int(now().timestamp() * 1000), entry=entry.decode())
    await client.hset(keys.ledger(0, LEAD), mail, str(row))
    told = EmailSkipped(email_id=mail, kind=Kind.NOTIFICATION, subscriber_id=who, reason=reason)
    await client.xadd(OUTCOMES, encode(make_event(told, subject=LEAD, now=now())))
    return mail


async def events(client: Client, stream: str, kind: type[EventData]) -> list[Event]:
    found = [read_entry(stream, *entry).event for entry in await client.xrange(stream)]
    return [event for event in found if event and isinstance(event.data, kind)]


async def row_of(client: Client, mail: str) -> Row:
    return parse_row((await client.hget(keys.ledger(0, LEAD), mail)).decode())


async def settle_quota(client: Client) -> None:
    """What the quota group does with every outcome there is."""
    entries = await client.xrange(OUTCOMES)
    await Quota(client, Settings()).handle([make_delivery(0, OUTCOMES, *entry) for entry in entries])


async def usage(client: Client, who: str) -> tuple[int, int]:
    found = (await SubscriberStore(client).usage([who]))[who]
    return found.sent, found.reserved
