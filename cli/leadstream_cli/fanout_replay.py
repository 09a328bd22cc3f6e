"""What today's fan-out would request for leads of the past, beside what was requested. It only reads.

The rule is the one that fan-out itself uses (`recipients.candidates`), with the subscribers of now. What was requested
stands in the ledger. Nothing that could send or request is imported here; a test holds that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from leadstream_archive.history import History
from leadstream_cli.revealing import vault_of
from leadstream_events import keys
from leadstream_events.directory import Directory
from leadstream_events.entry_ids import just_before
from leadstream_events.envelope import Event
from leadstream_events.ids import WELCOME_RECIPIENT, email_id
from leadstream_events.ledger import parse_row
from leadstream_events.log import read_entry
from leadstream_events.recipients import NO_LIMIT, Candidate, candidates
from leadstream_events.schemas.events import EmailRequested, Kind, LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.subscriber import Subscriber
from leadstream_events.subscribers import SubscriberStore

_PAGE = 500
WELCOME = "welcome"
SOMEBODY = "a removed subscriber"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One lead. Recipients are subscriber ids, or `welcome`. `used_up`: those who would get it had they leads left."""

    lead_id: str
    partition: int
    would: tuple[str, ...]
    requested: tuple[str, ...]
    more: tuple[str, ...]
    fewer: tuple[str, ...]
    used_up: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """True when today's fan-out would do something else than was done."""
        return bool(self.more or self.fewer or self.used_up)


class Replay:
    """Compares leads one by one; purchased leads that new mails would use up are counted down on the way."""

    def __init__(self, subscribers: Mapping[str, Subscriber], left: Mapping[str, int], *, welcome: bool) -> None:
        self._subscribers, self._welcome = subscribers, welcome
        self._left = dict(left)

    def compare(self, event: Event, lead: Lead, partition: int, rows: frozenset[str]) -> Replayed:
        """Compares one lead, given the ids of the mails that its ledger knows."""
        due = candidates(event.subject, lead, self._subscribers.values(), welcome=self._welcome)
        known = {mail.email_id for mail in due} & rows
        would: list[str] = []
        used_up: list[str] = []
        for mail in due:
            (would if mail.email_id in known or self._take(mail) else used_up).append(_name(mail))
        before = self._requested(event.subject, rows)
        return Replayed(
            event.subject, partition, tuple(would), before,
            tuple(sorted(set(would) - set(before))), tuple(sorted(set(before) - set(would))), tuple(used_up),
        )  # fmt: skip

    def _take(self, mail: Candidate) -> bool:
        if mail.subscriber_id is None or mail.purchased == NO_LIMIT:
            return True
        left = self._left.get(mail.subscriber_id, 0)
        self._left[mail.subscriber_id] = max(0, left - 1)
        return left > 0

    def _requested(self, lead_id: str, rows: frozenset[str]) -> tuple[str, ...]:
        names = {email_id(lead_id, Kind.WELCOME, WELCOME_RECIPIENT): WELCOME}
        names |= {email_id(lead_id, Kind.NOTIFICATION, who): who for who in self._subscribers}
        return tuple(names.get(row, SOMEBODY) for row in sorted(rows))


def _name(mail: Candidate) -> str:
    return mail.subscriber_id or WELCOME


async def replay(history: History, partitions: int, since: str, *, welcome: bool) -> AsyncIterator[Replayed]:
    """Compares every lead stored from the entry id `since` on, partition by partition, oldest first."""
    client = history.client
    snapshot = await Directory(client).refresh()
    usage = await SubscriberStore(client).usage(list(snapshot.subscribers)) if snapshot.subscribers else {}
    left = {
        who: subscriber.leads_purchased - usage[who].sent - usage[who].reserved
        for who, subscriber in snapshot.subscribers.items()
        if subscriber.leads_purchased is not None
    }
    comparing = Replay(snapshot.subscribers, left, welcome=welcome)
    for partition in range(partitions):
        async for leads in _leads(history, partition, since):
            for (event, lead), rows in zip(leads, await _mails(history, partition, leads), strict=True):
                yield comparing.compare(event, lead, partition, rows)


_Lead = tuple[Event, Lead]


async def _leads(history: History, partition: int, since: str) -> AsyncIterator[list[_Lead]]:
    """Pages of leads that can be opened; of erased ones nobody would get a mail."""
    key, vault = keys.stream(partition, keys.LEADS), vault_of(history.client)
    first = since if "-" in since else f"{since}-0"
    async for page in history.pages(partition, keys.LEADS, just_before(first), count=_PAGE):
        events = [each.event for each in await vault.open([read_entry(key, *entry) for entry in page])]
        yield [
            (event, event.data.lead)
            for event in events
            if event and isinstance(event.data, LeadReceived) and isinstance(event.data.lead, Lead)
        ]


async def _mails(history: History, partition: int, leads: Sequence[_Lead]) -> list[frozenset[str]]:
    """Per lead the ids of the mails that were requested: from its ledger, or, when that is gone, from the archive."""
    async with history.client.pipeline(transaction=False) as pipe:
        for event, _ in leads:
            pipe.hgetall(keys.ledger(partition, event.subject))
        ledgers = await pipe.execute() if leads else []
    return [
        frozenset(name.decode() for name, value in ledger.items() if _is_row(value.decode()))
        if ledger
        else await _archived_mails(history, partition, event.subject)
        for ledger, (event, _) in zip(ledgers, leads, strict=True)
    ]


async def _archived_mails(history: History, partition: int, lead_id: str) -> frozenset[str]:
    found = [
        read_entry(key, entry_id, fields).event
        for key, entry_id, fields in await history.archived_of_lead(partition, lead_id)
    ]
    return frozenset(each.data.email_id for each in found if each and isinstance(each.data, EmailRequested))


def _is_row(text: str) -> bool:
    try:
        parse_row(text)
    except ValueError:  # the append's field, or fan-out's
        return False
    return True
