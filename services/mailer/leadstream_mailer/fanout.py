"""The fan-out service: turns each lead into one EmailRequested per recipient, and settles purchased leads.

Two groups: `fanout` on leads, `quota` on outcomes. A crash between a reservation and its commit leaves the lead
pending; delivered again, it reserves the same mails again, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from leadstream_events import keys
from leadstream_events.directory import Directory, Snapshot
from leadstream_events.effects import Settlement
from leadstream_events.recipients import Candidate, candidates
from leadstream_events.redis_client import Client
from leadstream_events.runtime.batch import Handle
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.runtime.service import batch_consumer, boot_name, policy_of, run_service
from leadstream_events.schemas.events import EmailFailed, EmailSent, EmailSkipped, LeadReceived
from leadstream_events.settings import Settings
from leadstream_mailer.fanout_rules import request
from leadstream_mailer.reservations import Reservation, Settled, reserve, settle

_BATCH = 50


class Fanout:
    """Handles batches of leads."""

    def __init__(self, client: Client, directory: Directory, *, welcome: bool) -> None:
        self._client, self._directory, self._welcome = client, directory, welcome

    async def handle(self, batch: Sequence[Delivery]) -> list[Settlement]:
        """Returns one settlement per delivery, holding all of its mails."""
        snapshot = await self._directory.refresh()
        return [await self._one(delivery, snapshot) for delivery in batch]

    async def _one(self, delivery: Delivery, snapshot: Snapshot) -> Settlement:
        event = delivery.event
        if event is None or not isinstance(event.data, LeadReceived):
            return Settlement(delivery.stream, delivery.entry_id)
        now = datetime.now(UTC)
        due = candidates(event.subject, event.data.lead, snapshot.subscribers.values(), welcome=self._welcome)
        granted = await self._granted(due)
        effects = [
            effect for mail in granted for effect in request(mail, event, delivery.entry_id, delivery.partition, now)
        ]
        return Settlement(delivery.stream, delivery.entry_id, tuple(effects))

    async def _granted(self, due: Sequence[Candidate]) -> list[Candidate]:
        """Leaves out subscribers with nothing left. Unlimited ones reserve too: it is what counts their leads."""
        wanted = [Reservation(mail.email_id, mail.subscriber_id, mail.purchased) for mail in due if mail.subscriber_id]
        answers = await reserve(self._client, wanted)
        refused = {item.email_id for item, ok in zip(wanted, answers, strict=True) if not ok}
        return [mail for mail in due if mail.email_id not in refused]


class Quota:
    """Handles batches of outcomes."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def handle(self, batch: Sequence[Delivery]) -> list[Settlement]:
        """Settles first and acknowledges after: a crash between makes it settle again, which changes nothing."""
        await settle(self._client, [ended for delivery in batch if (ended := _ended(delivery))])
        return [Settlement(delivery.stream, delivery.entry_id) for delivery in batch]


def _ended(delivery: Delivery) -> Settled | None:
    event = delivery.event
    match event.data if event else None:
        case EmailSent(email_id=mail, subscriber_id=str(subscriber)):
            return Settled(mail, subscriber, True, event.time if event else datetime.min)
        case EmailFailed(email_id=mail, subscriber_id=str(subscriber)):
            return Settled(mail, subscriber, False, event.time if event else datetime.min)
        case EmailSkipped(email_id=mail, subscriber_id=str(subscriber)):
            return Settled(mail, subscriber, False, event.time if event else datetime.min)
    return None


async def build(stack: AsyncExitStack, settings: Settings) -> list[Consumer]:
    """Wires both groups of every partition."""
    name, policy = boot_name("fanout"), policy_of(settings, batch=_BATCH)
    consumers = []
    for partition in range(settings.partitions):

        def fanout_of(client: Client) -> Handle:
            return Fanout(client, Directory(client), welcome=settings.welcome).handle

        def quota_of(client: Client) -> Handle:
            return Quota(client).handle

        for group, stream, make in ((keys.FANOUT, keys.LEADS, fanout_of), (keys.QUOTA, keys.OUTCOMES, quota_of)):
            made = batch_consumer(
                settings, policy, group=group, partition=partition, streams=[stream], name=name, make_handle=make
            )
            consumers.append(await stack.enter_async_context(made))
    return consumers


async def run(settings: Settings) -> None:
    """Runs the service until SIGTERM or SIGINT."""
    await run_service("fanout", settings, lambda stack: build(stack, settings))
