"""The fan-out service: turns each lead into one EmailRequested per recipient, and settles purchased leads.

Two groups: `fanout` on leads, `quota` on outcomes. A crash between a reservation and its commit leaves the lead
pending; delivered again, it reserves the same mails again, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime

from leadstream_events import keys
from leadstream_events.directory import Directory, Snapshot
from leadstream_events.effects import Effect, Settlement, once, together
from leadstream_events.ledger import FANOUT_FIELD
from leadstream_events.recipients import Candidate, candidates
from leadstream_events.redis_client import Client
from leadstream_events.reservations import Reservation, Settled, member, reserve, settle
from leadstream_events.runtime.batch import Handle
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.runtime.service import batch_consumer, boot_name, policy_of, run_service
from leadstream_events.schemas.events import EmailFailed, EmailSent, EmailSkipped, LeadReceived, MailSettled
from leadstream_events.settings import Settings
from leadstream_mailer.fanout_rules import request

_BATCH = 50
# Counting is not urgent, and a large batch costs much the same as a small one.
_QUOTA_BATCH, _QUOTA_LINGER_S = 500, 0.05

# After an outage the API merges what it spooled and sent meanwhile; a lead stored twice must not be requested before.
_RESUME_GRACE_S = 2.0

_Due = tuple[Delivery, list[Candidate]]


class Fanout:
    """Handles batches of leads. A mail that was requested before is left alone: no second reservation either."""

    def __init__(self, client: Client, directory: Directory, *, welcome: bool) -> None:
        self._client, self._directory, self._welcome = client, directory, welcome

    async def handle(self, batch: Sequence[Delivery]) -> list[Settlement]:
        """Returns one settlement per delivery, holding all of its mails."""
        snapshot = await self._directory.refresh()
        due = await self._unrequested([(delivery, self._due(delivery, snapshot)) for delivery in batch])
        refused = await self._refused([mail for _, mails in due for mail in mails])
        now = datetime.now(UTC)
        return [
            Settlement(delivery.stream, delivery.entry_id, _requests(delivery, mails, refused, now))
            for delivery, mails in due
        ]

    def _due(self, delivery: Delivery, snapshot: Snapshot) -> list[Candidate]:
        event = delivery.event
        if event is None or not isinstance(event.data, LeadReceived):
            return []
        return candidates(event.subject, event.data.lead, snapshot.subscribers.values(), welcome=self._welcome)

    async def _unrequested(self, due: Sequence[_Due]) -> list[_Due]:
        """Leaves out mails that were requested before, and whole leads that fan-out has been through.

        A lead read again after a `seek` reaches nobody who subscribed since. A mail with a row (one sent while Redis
        was away) must not be reserved again: its reservation is settled, perhaps, and would never be again.
        """
        async with self._client.pipeline(transaction=False) as pipe:
            asked = [(delivery, mails) for delivery, mails in due if mails and delivery.event]
            for delivery, mails in asked:
                subject = delivery.event.subject if delivery.event else ""
                fields = [FANOUT_FIELD, *(mail.email_id for mail in mails)]
                pipe.hmget(keys.ledger(delivery.partition, subject), fields)
            rows = await pipe.execute() if asked else []
        known = {
            mail.email_id
            for (_, mails), (been_through, *found) in zip(asked, rows, strict=True)
            for mail, row in zip(mails, found, strict=True)
            if been_through is not None or row is not None
        }
        return [(delivery, [mail for mail in mails if mail.email_id not in known]) for delivery, mails in due]

    async def _refused(self, mails: Sequence[Candidate]) -> set[str]:
        """Mails of subscribers with nothing left. Unlimited ones reserve too: it is what counts their leads."""
        wanted = [
            Reservation(mail.email_id, mail.subscriber_id, mail.purchased) for mail in mails if mail.subscriber_id
        ]
        answers = await reserve(self._client, wanted)
        return {item.email_id for item, ok in zip(wanted, answers, strict=True) if not ok}


def _requests(delivery: Delivery, mails: Sequence[Candidate], refused: set[str], now: datetime) -> tuple[Effect, ...]:
    event = delivery.event
    if event is None or not isinstance(event.data, LeadReceived):
        return ()
    requests = [
        effect
        for mail in mails
        if mail.email_id not in refused
        for effect in request(mail, event, delivery.entry_id, delivery.partition, now)
    ]
    ledger = keys.ledger(delivery.partition, event.subject)
    return once(ledger, FANOUT_FIELD, delivery.entry_id, requests)


class Quota:
    """Handles batches of outcomes."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def handle(self, batch: Sequence[Delivery]) -> list[Settlement]:
        """Settles first and acknowledges after: a crash between makes it settle again, which changes nothing."""
        await settle(self._client, [ended for delivery in batch if (ended := _ended(delivery))])
        return [together(batch[0].stream, [delivery.entry_id for delivery in batch])]


def _ended(delivery: Delivery) -> Settled | None:
    event = delivery.event
    data = event.data if event else None
    if event is None or not isinstance(data, EmailSent | EmailFailed | EmailSkipped | MailSettled):
        return None
    if data.subscriber_id is None:
        return None
    sent = data.sent if isinstance(data, MailSettled) else isinstance(data, EmailSent)
    return Settled(member(data.email_id, data.reservation), data.subscriber_id, sent, event.time)


async def build(stack: AsyncExitStack, settings: Settings) -> list[Consumer]:
    """Wires both groups of every partition."""
    name = boot_name("fanout")
    policies = {
        keys.FANOUT: replace(policy_of(settings, batch=_BATCH), resume_grace_s=_RESUME_GRACE_S),
        keys.QUOTA: policy_of(settings, batch=_QUOTA_BATCH, linger_s=_QUOTA_LINGER_S),
    }
    consumers = []
    for partition in range(settings.partitions):
        directories: list[Directory] = []

        def fanout_of(client: Client, directories: list[Directory] = directories) -> Handle:
            directories.append(Directory(client))
            return Fanout(client, directories[0], welcome=settings.welcome).handle

        def quota_of(client: Client) -> Handle:
            return Quota(client).handle

        async def look_again(directories: list[Directory] = directories) -> None:
            for directory in directories:  # a group that had to be created again: Redis may have lost data
                directory.forget()

        for group, stream, make in ((keys.FANOUT, keys.LEADS, fanout_of), (keys.QUOTA, keys.OUTCOMES, quota_of)):
            made = batch_consumer(
                settings,
                policies[group],
                group=group,
                partition=partition,
                streams=[stream],
                name=name,
                make_handle=make,
                on_group_created=look_again if group == keys.FANOUT else None,
            )
            consumers.append(await stack.enter_async_context(made))
    return consumers


async def run(settings: Settings) -> None:
    """Runs the service until SIGTERM or SIGINT."""
    await run_service("fanout", settings, lambda stack: build(stack, settings))
