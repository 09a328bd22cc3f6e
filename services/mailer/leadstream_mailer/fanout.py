"""The fan-out service: turns each lead into one EmailRequested per recipient, and settles purchased leads.

Two groups: `fanout` on leads, `quota` on outcomes. A crash between a reservation and its commit leaves the lead
pending; delivered again, it reserves the same mails again, which changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime

from leadstream_events import keys
from leadstream_events.directory import Directory, Snapshot
from leadstream_events.effects import Effect, Settlement, once, together
from leadstream_events.errors import Permanent
from leadstream_events.ledger import FANOUT_FIELD
from leadstream_events.log import Entry
from leadstream_events.recipients import NO_LIMIT, Candidate, candidates
from leadstream_events.redis_client import Client, one_keyspace
from leadstream_events.redis_joint import joint
from leadstream_events.reports import refused
from leadstream_events.reservations import Reservation, Settled, member, reserve, settle
from leadstream_events.runtime.batch import Handle
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.runtime.service import batch_consumer, boot_name, policy_of, run_service
from leadstream_events.schemas.events import EmailFailed, EmailSent, EmailSkipped, LeadReceived, MailSettled
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.sealed import Locked, Sealed
from leadstream_events.settings import Settings
from leadstream_events.vault import Sealer, Vault, sealer_of
from leadstream_mailer.fanout_rules import refusal, request

_BATCH = 50
# After a small batch the next leads gather for a moment: one that comes alone never waits for it.
_LINGER_S = 0.01
# Counting is not urgent, and a large batch costs much the same as a small one.
_QUOTA_BATCH, _QUOTA_LINGER_S = 500, 0.2

# After an outage the API merges what it spooled and sent meanwhile; a lead stored twice must not be requested before.
_RESUME_GRACE_S = 2.0

_Requests = dict[str, tuple[Effect, ...]]
"""Mail id to the effects that request the mail."""


class Fanout:
    """Handles batches of leads. A mail that was requested before is left alone: no second reservation either."""

    def __init__(self, client: Client, sealer: Sealer, *, welcome: bool) -> None:
        self._client, self._asking, self._welcome = client, joint(client), welcome
        self._directory, self._vault = Directory(self._asking), Vault(self._asking, sealer)
        self._one_keyspace: bool | None = None  # not asked yet

    def forget(self) -> None:
        """Redis may have lost data, or be another one: what is known of it is asked anew."""
        self._directory.forget()
        self._one_keyspace = None

    async def handle(self, batch: Sequence[Delivery]) -> list[Settlement]:
        """Returns one settlement per delivery, holding all of its mails."""
        looking = self._directory.refresh(), self._leads(batch), self._ledgers(batch)
        snapshot, leads, ledgers = await asyncio.gather(*looking)
        if self._one_keyspace is None:
            self._one_keyspace = await one_keyspace(self._client)
        due = [self._due(*each, snapshot) for each in zip(batch, leads, ledgers, strict=True)]
        asking = self._refused([mail for mails in due for mail in mails if self._must_ask(mail)])
        refused, made = await asyncio.gather(asking, self._make_requests(batch, due, datetime.now(UTC)))
        return [
            Settlement(delivery.stream, delivery.entry_id, _without(refused, delivery, requests))
            for delivery, requests in zip(batch, made, strict=True)
        ]

    async def _leads(self, batch: Sequence[Delivery]) -> list[Lead | None]:
        """The leads, opened in one round trip; None for an erased one. `Permanent` when one cannot be opened."""
        entries = [Entry(each.stream, each.entry_id, each.fields, each.event) for each in batch]
        leads: list[Lead | None] = []
        for entry in await self._vault.open(entries):
            if entry.problem:
                raise entry.problem
            data = entry.event.data if entry.event else None
            lead = data.lead if isinstance(data, LeadReceived) else None
            if isinstance(lead, Locked):
                raise Permanent("key_missing", f"its key needs the key-encryption key {lead.kek}")
            leads.append(None if isinstance(lead, Sealed) else lead)
        return leads

    async def _ledgers(self, batch: Sequence[Delivery]) -> list[set[str]]:
        """The fields of each lead's ledger: who was requested before. A lead new to fan-out has next to none."""
        async with self._asking.pipeline(transaction=False) as pipe:
            for delivery in batch:
                pipe.hkeys(keys.ledger(delivery.partition, delivery.event.subject if delivery.event else ""))
            return [{name.decode() for name in names} for names in await pipe.execute()]

    def _due(self, delivery: Delivery, lead: Lead | None, ledger: set[str], snapshot: Snapshot) -> list[Candidate]:
        """Who gets a mail, less those that were requested before and whole leads that fan-out has been through.

        A lead read again after a `seek` reaches nobody who subscribed since. A mail with a row (one sent while Redis
        was away) must not be reserved again: its reservation is settled, perhaps, and would never be again.
        """
        if delivery.event is None or lead is None or FANOUT_FIELD in ledger:
            return []
        found = candidates(delivery.event.subject, lead, snapshot.subscribers.values(), welcome=self._welcome)
        return [mail for mail in found if mail.email_id not in ledger]

    def _must_ask(self, mail: Candidate) -> bool:
        """True where a purchased lead is set aside before the mail is requested. Unlimited ones reserve too, since it
        is what counts their leads, but they are never refused: it happens together with the request, where it can."""
        return mail.subscriber_id is not None and (mail.purchased != NO_LIMIT or not self._one_keyspace)

    async def _refused(self, mails: Sequence[Candidate]) -> set[str]:
        """Mails of subscribers with nothing left; a purchased lead is set aside for each of the others."""
        wanted = [Reservation(mail.email_id, mail.subscriber_id or "", mail.purchased) for mail in mails]
        answers = await reserve(self._client, wanted)
        return {item.email_id for item, ok in zip(wanted, answers, strict=True) if not ok}

    async def _make_requests(
        self, batch: Sequence[Delivery], due: Sequence[list[Candidate]], now: datetime
    ) -> list[_Requests]:
        """Every request per delivery, made while Redis is asked which of them are refused: few are."""
        made: list[_Requests] = []
        for delivery, mails in zip(batch, due, strict=True):
            await asyncio.sleep(0)  # the question must be sent, and its answer read before it counts as late
            requests: _Requests = {}
            if event := delivery.event:
                for mail in mails:
                    requests[mail.email_id] = request(
                        mail, event, delivery.entry_id, delivery.partition, now, reserved=self._must_ask(mail)
                    )
            made.append(requests)
        return made


def _without(refused: set[str], delivery: Delivery, requests: _Requests) -> tuple[Effect, ...]:
    event = delivery.event
    if event is None or not isinstance(event.data, LeadReceived):
        return ()
    effects = [effect for email_id, made in requests.items() if email_id not in refused for effect in made]
    return once(keys.ledger(delivery.partition, event.subject), FANOUT_FIELD, delivery.entry_id, effects)


class Quota:
    """Handles batches of outcomes: purchased leads, and addresses that servers refuse."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client, self._settings = client, settings

    async def handle(self, batch: Sequence[Delivery]) -> list[Settlement]:
        """Settles first and acknowledges after: a crash between makes it settle again, which changes nothing."""
        await settle(self._client, [ended for delivery in batch if (ended := _ended(delivery))])
        for delivery in batch:
            if delivery.event and (report := refusal(delivery.event)):
                await refused(self._client, self._settings, report, delivery.event.id)
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
    name, sealer = boot_name("fanout"), sealer_of(settings)
    policies = {
        keys.FANOUT: replace(policy_of(settings, batch=_BATCH, linger_s=_LINGER_S), resume_grace_s=_RESUME_GRACE_S),
        keys.QUOTA: policy_of(settings, batch=_QUOTA_BATCH, linger_s=_QUOTA_LINGER_S),
    }
    consumers = []
    for partition in range(settings.partitions):
        fanouts: list[Fanout] = []

        def fanout_of(client: Client, fanouts: list[Fanout] = fanouts) -> Handle:
            fanouts.append(Fanout(client, sealer, welcome=settings.welcome))
            return fanouts[0].handle

        def quota_of(client: Client) -> Handle:
            return Quota(client, settings).handle

        async def look_again(fanouts: list[Fanout] = fanouts) -> None:
            for fanout in fanouts:  # a group that had to be created again: Redis may have lost data
                fanout.forget()

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
