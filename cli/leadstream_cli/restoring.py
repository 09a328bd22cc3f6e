"""Imports entries into a Redis so that nothing is ever sent for them, however often and wherever it is cut off.

An entry keeps its id, for ledger rows, requests and dead letters refer to it. In the step that stores it, the groups
that request, send and settle are led past it, and the ledger learns how far each mail was; a mail that had not ended is
held, so that a person settles it. Projections read imported entries like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from redis.exceptions import NoScriptError

from leadstream_archive.lines import RAW_TYPE
from leadstream_cli.cloudevents import Stored
from leadstream_cli.connection import configured
from leadstream_cli.queries import ms_of, places
from leadstream_events import keys, scripts
from leadstream_events.effects import Argument
from leadstream_events.errors import ConfigurationError, Conflict
from leadstream_events.ids import partition_of
from leadstream_events.redis_client import Client
from leadstream_events.schemas.lead import address_key
from leadstream_events.schemas.subscriber import Subscriber, Suppression
from leadstream_events.sealing import ERASED
from leadstream_events.subscribers import SubscriberStore

_GROUPS = {keys.LEADS: keys.FANOUT, keys.EMAILS: keys.MAILER, keys.OUTCOMES: keys.QUOTA}
_STATES = {
    "EmailRequested": "held",
    "EmailSent": "sent",
    "EmailDeferred": "held",
    "EmailFailed": "failed",
    "EmailSkipped": "skipped",
    "EmailOutcomeUnknown": "held",
}
REASONS = {
    -1: "another event is stored under its entry id",
    -2: "newer entries are in its stream already, and entries keep their ids",
    -3: "a working group has entries of its own still to read there: let it finish first",
}
_SUBSCRIBER_KEYS = [keys.SUBSCRIBER_STATE, keys.SUBSCRIBER_EMAILS, keys.SUPPRESSIONS]
_STATE, _EMAILS, _SUPPRESSIONS = 4, 5, 6
_LEDGER, _KEYS = 3, 4

Effects = list[tuple[str, int, str, str]]


@dataclass
class Imported:
    """What came of it. `refused` holds line numbers with the reason, the first twenty of them."""

    stored: int = 0
    there: int = 0
    refused_count: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)

    def refuse(self, line: int, reason: str) -> None:
        """Notes a line that was not taken."""
        self.refused_count += 1
        if len(self.refused) < 20:
            self.refused.append((line, reason))


async def prepare(client: Client, *, merge: bool) -> int:
    """Returns the partitions of the target, fixing them in an empty one. `Conflict` when it is not empty."""
    stored = await client.hget(keys.META, "partitions")
    if stored is None:
        found = configured("partitions")
        if found and not found.value.isdigit():
            raise ConfigurationError("LEADSTREAM_PARTITIONS: must be a number")
        await client.hsetnx(keys.META, "partitions", found.value if found else "1")
        stored = await client.hget(keys.META, "partitions")
    partitions = int(stored)
    filled = [key for key, _ in places(partitions) if await client.exists(key) and await client.xlen(key)]
    if filled and not merge:
        raise Conflict(f"this Redis is not empty ({len(filled)} streams): --merge adds what is not there yet")
    return partitions


class Restorer:
    """Stores batches of entries; counts in `report`."""

    def __init__(self, client: Client, partitions: int) -> None:
        self._client, self._partitions = client, partitions
        self._addresses: dict[str, str] = {}
        self.report = Imported()

    async def load(self) -> None:
        """Learns the subscribers that are there: a changed address must free the old one."""
        everyone = await SubscriberStore(self._client).all()
        self._addresses = {item.id: address_key(item.email) for item in everyone}

    async def store(self, batch: Sequence[tuple[int, Stored]]) -> None:
        """Stores (line number, entry) pairs in their order."""
        calls = []
        for line, item in batch:
            try:
                calls.append((line, self._call(item)))
            except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
                self.report.refuse(line, str(error)[:120] if type(error) is ValueError else "its data cannot be read")
        if not calls:
            return
        try:
            replies = await self._run([call for _, call in calls])
        except NoScriptError:  # the first batch, or another server after a failover: repeating a batch changes nothing
            await self._client.script_load(scripts.RESTORE.text)
            replies = await self._run([call for _, call in calls])
        for (line, _), reply in zip(calls, replies, strict=True):
            if reply == 1:
                self.report.stored += 1
            elif reply == 0:
                self.report.there += 1
            else:
                self.report.refuse(line, REASONS[int(reply)])

    async def _run(self, calls: Sequence[tuple[list[str], list[Argument]]]) -> list[int]:
        async with self._client.pipeline(transaction=False) as pipe:
            for names, args in calls:
                pipe.evalsha(scripts.RESTORE.sha, len(names), *names, *args)
            replies: list[int] = await pipe.execute()
        return replies

    def _call(self, item: Stored) -> tuple[list[str], list[Argument]]:
        data = msgspec.json.decode(item.data) if item.type != RAW_TYPE.removeprefix("leadstream.") else {}
        data = data if isinstance(data, dict) else {}
        flat = [part for pair in item.fields.items() for part in pair]
        if item.stream == "subscribers":
            effects = self._subscriber_effects(item, data)
            names = [keys.SUBSCRIBER_EVENTS, keys.SUBSCRIBER_EVENTS, keys.SUBSCRIBER_EVENTS, *_SUBSCRIBER_KEYS]
            tail = [part for effect in effects for part in effect]
            return names, [item.entry_id, item.event_id, "", "", "", len(effects), *tail, *flat]
        partition = self._partition(item)
        ledger_key = keys.ledger(partition, item.subject or "-")
        names = [keys.stream(partition, item.stream), keys.checkpoints(partition), ledger_key]
        ledger = _ledger_change(item, data)
        names.append(keys.lead_keys(partition))
        effects = [*_key_effects(item), *_report_effects(item, data)]
        changes: list[Argument] = [len(effects), *(part for effect in effects for part in effect)]
        return names, [item.entry_id, item.event_id, _GROUPS.get(item.stream, ""), *ledger, *changes, *flat]

    def _partition(self, item: Stored) -> int:
        if item.stream not in (*keys.STREAMS, keys.OPERATIONS):
            raise ValueError(f"no stream {item.stream[:40]!r}")
        partition = item.partition or 0
        of_lead = item.stream in _GROUPS and item.subject
        if partition >= self._partitions or (of_lead and partition_of(item.subject, self._partitions) != partition):
            raise ValueError(
                f"it comes from another number of partitions than {self._partitions}: "
                "import into an empty Redis with LEADSTREAM_PARTITIONS as it was there"
            )
        return partition

    def _subscriber_effects(self, item: Stored, data: Mapping[str, Any]) -> Effects:
        if item.type in ("SubscriberAdded", "SubscriberChanged"):
            subscriber = Subscriber.model_validate(data["subscriber"])
            name, address = subscriber.id, address_key(subscriber.email)
            old = self._addresses.get(name)
            self._addresses[name] = address
            effects: Effects = [("HDEL", _EMAILS, old, "")] if old and old != address else []
            text = subscriber.model_dump_json()
            return [*effects, ("HSET", _EMAILS, address, name), ("HSET", _STATE, name, text)]
        if item.type == "SubscriberRemoved":
            old = self._addresses.pop(data["subscriber_id"], None)
            freed: Effects = [("HDEL", _EMAILS, old, "")] if old else []
            return [*freed, ("HDEL", _STATE, data["subscriber_id"], "")]
        if item.type == "RecipientSuppressed":
            suppression = Suppression.model_validate(data["suppression"])
            return [("HSET", _SUPPRESSIONS, address_key(suppression.address), suppression.model_dump_json())]
        if item.type == "RecipientReleased":
            return [("HDEL", _SUPPRESSIONS, address_key(data["address"]), "")]
        return []

    async def count_purchased(self) -> None:
        """Gives every subscriber the count of leads that the stored outcomes say were sent, unless it is higher."""
        sent: Counter[str] = Counter()
        last: dict[str, str] = {}
        for number in range(self._partitions):
            position = "-"
            while True:
                page = await self._client.xrange(keys.stream(number, keys.OUTCOMES), position, count=1_000)
                for _, fields in page:
                    who = _counts_for(fields)
                    if who:
                        sent[who] += 1
                        last[who] = max(last.get(who, ""), fields.get(b"time", b"").decode(errors="replace"))
                if len(page) < 1_000:
                    break
                position = f"({page[-1][0].decode()}"
        for who, count in sent.items():
            if int(await self._client.hget(keys.quota(who), "sent") or 0) < count:
                await self._client.hset(keys.quota(who), mapping={"sent": count, "last_sent": last[who]})


def _counts_for(fields: Mapping[bytes, bytes]) -> str | None:
    """The subscriber whose lead this outcome used up."""
    kind = fields.get(b"type")
    if kind not in (b"EmailSent", b"MailSettled"):
        return None
    try:
        data = msgspec.json.decode(fields.get(b"data", b""))
        return data.get("subscriber_id") if kind == b"EmailSent" or data.get("sent") else None
    except (msgspec.MsgspecError, AttributeError):
        return None


def _key_effects(item: Stored) -> Effects:
    """The key of a sealed lead comes with it, and goes when it was erased after that."""
    if item.type == "LeadErased":
        return [("HSET", _KEYS, item.subject, ERASED)]
    if item.lead_key:
        return [("HSET", _KEYS, item.subject, item.lead_key)]
    return []


def _report_effects(item: Stored, data: Mapping[str, Any]) -> Effects:
    """A report that is told again after the import is known, and its mail has counted (`lua/report.lua`)."""
    metric = {"EmailBounced": "bounced", "EmailComplained": "complained"}.get(item.type)
    if metric is None or not data.get("report_id"):
        return []
    mail = str(data["email_id"])
    mark = ("HSET", _LEDGER, f"report {mail} {data['report_id']}", f"{item.event_id} done")
    return [mark, ("HSET", _LEDGER, f"counted {mail} {metric}", "1")]


def _ledger_change(item: Stored, data: Mapping[str, Any]) -> tuple[str, str]:
    """Field and value of the lead's ledger that this event sets; blanks for none."""
    if item.type == "LeadReceived":
        return "lead", f"{item.entry_id} imported"
    state = _STATES.get(item.type)
    if item.type == "MailSettled":
        state = "sent" if data.get("sent") else "failed"
    if state is None:
        return "", ""
    unknowns = int(item.type == "EmailOutcomeUnknown")
    return str(data["email_id"]), f"{state} {int(data.get('attempt', 0))} {unknowns} {ms_of(item.entry_id)}"
