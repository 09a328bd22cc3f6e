"""After a restore from a backup: nothing is sent that may have been sent since the backup was taken.

The backup knows nothing of what happened after it. So every mail that it holds as open is set aside as held, before any
mailer starts (`hold`). Whoever has the mail server's log then says which of them were accepted (`message_ids`,
`settle`), and the others are sent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from redis.exceptions import ResponseError

from leadstream_events import dead_letters, keys, scripts
from leadstream_events.effects import Effect, Fence, Settlement, append, commit_call, due_member, set_field
from leadstream_events.envelope import make_event
from leadstream_events.errors import Conflict
from leadstream_events.ids import new_id
from leadstream_events.ledger import Row, State, parse_row
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client
from leadstream_events.redrive import Redriver
from leadstream_events.redrive_rules import Actor, Refusal
from leadstream_events.runtime.delivery import Delivery, dead_letter, make_delivery
from leadstream_events.runtime.source import ensure_group
from leadstream_events.schemas.events import EmailOutcomeUnknown, EmailRequested
from leadstream_events.views_streams import count_behind

RESTORED = "restored"
MAILER_ASKED_S = 15
_CONSUMER = "restore-"
_FINAL = (State.SENT, State.FAILED, State.SKIPPED, State.HELD)
_PAGE = 500
_DETAIL = "restored from a backup: it may have been sent since the backup was taken"
# The left part of our Message-IDs; mail servers write it into their logs as it is.
_MESSAGE_ID = re.compile(rb"<?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})@[^\s<>]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of held mails: accepted since the backup, asked for anew, or neither and why."""

    sent: int = 0
    again: int = 0
    refused: Mapping[Refusal, int] = field(default_factory=dict)


def message_ids(log: bytes) -> frozenset[str]:
    """The mails named in a mail server's log, or in any list of Message-IDs; by their ids.

    Lines that tell of a rejection are left out: a server that refused a mail writes its Message-ID too.
    """
    lines = (line for line in log.splitlines() if b"reject" not in line.lower())
    return frozenset(found.decode().lower() for line in lines for found in _MESSAGE_ID.findall(line))


async def unread_by_fanout(client: Client, partitions: int) -> int:
    """Leads that fan-out has not finished: their mails are not requested yet, so `hold` cannot see them."""
    return sum([await _unfinished(client, number, keys.LEADS, keys.FANOUT) for number in range(partitions)])


async def open_mails(client: Client, partitions: int) -> int:
    """Mails that no mailer has finished: so many `hold` sets aside at the most."""
    return sum([await _unfinished(client, number, keys.EMAILS, keys.MAILER) for number in range(partitions)])


async def _unfinished(client: Client, partition: int, name: str, group: str) -> int:
    stream = keys.stream(partition, name)
    if not await client.exists(stream):
        return 0
    groups = {each["name"]: each for each in await client.xinfo_groups(stream)}
    found = groups.get(group.encode(), {"last-delivered-id": b"0-0", "pending": 0})
    delivered, info = found["last-delivered-id"].decode(), await client.xinfo_stream(stream)
    return int(found["pending"]) + (await count_behind(client, stream, delivered, info))[0]


async def mailers_at_work(client: Client, partitions: int) -> int:
    """Mailers that asked Redis for work within the last `MAILER_ASKED_S` seconds: they run, or were just stopped.

    0 is no proof that none runs: one that waits for the rate limit asks later.
    """
    names = set()
    for partition in range(partitions):
        stream = keys.stream(partition, keys.EMAILS)
        try:
            found = await client.xinfo_consumers(stream, keys.MAILER)
        except ResponseError:  # no such stream or group: no mailer ever ran
            continue
        names |= {each["name"] for each in found if each["idle"] < MAILER_ASKED_S * 1000}
    names.discard(keys.PARKED.encode())
    return sum(not name.startswith(_CONSUMER.encode()) for name in names)


async def hold(client: Client, partition: int, now: datetime) -> int:
    """Sets every open mail of a partition aside as held, and returns how many; no mailer may be running.

    Raises `Conflict` when one is: a mail changed its state meanwhile. Calling it again goes on.
    """
    held, consumer = 0, f"{_CONSUMER}{new_id()}"
    async for deliveries in _open(client, partition, consumer):
        settlements = [await _held(client, delivery, now) for delivery in deliveries]
        names, args = commit_call(keys.MAILER, consumer, keys.checkpoints(partition), settlements)
        done = await scripts.run(client, scripts.COMMIT, names, args)
        if not all(each == 1 for each in done):
            raise Conflict("a mail changed meanwhile: stop every mailer, then do it again")
        held += sum(bool(settlement.effects) for settlement in settlements)
    return held


async def _open(client: Client, partition: int, consumer: str) -> AsyncIterator[list[Delivery]]:
    """Everything that the mailer group has not finished: what nobody has read, then what is pending for somebody."""
    stream = keys.stream(partition, keys.EMAILS)
    await ensure_group(client, partition, keys.MAILER, stream)  # no mailer may ever have run
    while found := await client.xreadgroup(keys.MAILER, consumer, {stream: ">"}, count=_PAGE):
        yield [make_delivery(partition, stream, *entry) for entry in found[0][1]]
    while pending := await client.xpending_range(stream, keys.MAILER, "-", "+", _PAGE):
        ids = [item["message_id"] for item in pending]
        claimed = dict(await client.xclaim(stream, keys.MAILER, consumer, 0, ids))
        yield [make_delivery(partition, stream, each, claimed.get(each) or {}) for each in ids]


async def _held(client: Client, delivery: Delivery, now: datetime) -> Settlement:
    """Finished as held; one that was ended before, or cannot be read, is only finished."""
    event, request = delivery.event, delivery.event.data if delivery.event else None
    parked = Effect(
        "ZREM", keys.due(delivery.partition, keys.MAILER), (due_member(delivery.stream, delivery.entry_id),)
    )
    if event is None or not isinstance(request, EmailRequested):
        letter = dead_letter(delivery, keys.MAILER, RESTORED, _DETAIL, now)
        return Settlement(delivery.stream, delivery.entry_id, (letter, parked))
    ledger = keys.ledger(delivery.partition, event.subject)
    stored = await client.hget(ledger, request.email_id)
    row = parse_row(stored.decode()) if stored else Row(State.REQUESTED)
    if row.state in _FINAL:
        return Settlement(delivery.stream, delivery.entry_id, ())
    after = Row(State.HELD, row.attempts, row.unknowns + 1, "-", "data", int(now.timestamp() * 1000), delivery.entry_id)
    data = EmailOutcomeUnknown(
        email_id=request.email_id,
        kind=request.kind,
        subscriber_id=request.subscriber_id,
        reservation=request.reservation,
        attempt=row.attempts,
        policy="hold",
        detail=_DETAIL,
    )
    told = make_event(data, subject=event.subject, now=now, cause=event.id, trace=event.trace)
    effects = (
        set_field(ledger, request.email_id, str(after)),
        append(keys.stream(delivery.partition, keys.OUTCOMES), told),
        dead_letter(delivery, keys.MAILER, RESTORED, _DETAIL, now),
        parked,
    )
    fence = Fence(ledger, request.email_id, stored.decode()) if stored else None
    return Settlement(delivery.stream, delivery.entry_id, effects, fence=fence)


async def settle(log: StreamLog, redriver: Redriver, accepted: Collection[str], actor: Actor) -> Settled:
    """Ends what `hold` set aside: mails in `accepted` were sent, and the others are sent now, each once."""
    sent = again = 0
    refused: Counter[Refusal] = Counter()
    letters = [letter async for letter in dead_letters.each(log, lambda letter: letter.cause == RESTORED)]
    for letter in letters:
        if letter.email_id is None:
            refused[Refusal.GONE] += 1
        elif letter.email_id in accepted:
            done = await redriver.settle(letter.lead_id, letter.email_id, actor, sent=True)
            sent += done.refusal is None
            refused.update([done.refusal] if done.refusal else [])
        else:
            done = await redriver.redrive(letter.partition, letter.entry_id, actor)
            again += done.refusal is None
            refused.update([done.refusal] if done.refusal else [])
    return Settled(sent, again, refused)
