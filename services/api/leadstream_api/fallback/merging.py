"""Carries what the spool holds over into Redis, once each, and forgets it only after Redis has it.

The order makes a crash anywhere harmless: reserve purchased leads (a set, so twice is once), store the lead with all
that became of its mails in one step (`lua/merge.lua` remembers the merge), delete it from the spool.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from leadstream_api.fallback.limiter import LocalLimiter, span_of_s
from leadstream_api.fallback.rows import Fields, SpooledMail, now_ms
from leadstream_api.fallback.spool import Spool, Work
from leadstream_api.fallback.verdict import lead_token, mail_token
from leadstream_events import keys, logs, scripts
from leadstream_events.effects import Argument
from leadstream_events.envelope import encode, make_event
from leadstream_events.errors import Backpressure, RedisCause
from leadstream_events.ledger import Row, State
from leadstream_events.log import StreamLog
from leadstream_events.recipients import NO_LIMIT
from leadstream_events.redis_client import Client
from leadstream_events.redrive_rules import IDEMPOTENCY_CONFLICT
from leadstream_events.reservations import Reservation, reserve
from leadstream_events.runtime.service import check_partitions
from leadstream_events.schemas.events import EntryDeadLettered
from leadstream_events.subscribers import utc_now
from leadstream_events.writer import PipelinedWriter

BATCH = 50
_DEADLINE_S = 5.0
_STREAM_KEYS = {keys.EMAILS: 3, keys.OUTCOMES: 4, keys.DEAD: 5}
_RESULTS = {1: "stored", 0: "was_there", -1: "conflict", 2: "merged_before"}
# Refused for what the keys of one lead hold, not for what the server can do.
_OF_ONE_LEAD = frozenset((RedisCause.WRONGTYPE, RedisCause.OTHER))
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Merged:
    """What one round did. `results` counts by label, `refused` are leads that Redis cannot take as they are."""

    results: dict[str, int]
    copies: int
    refused: tuple[str, ...] = ()


def carried(mails: Sequence[SpooledMail]) -> list[SpooledMail]:
    """The mails that were attempted. All others are left to fan-out, which decides by what is known then."""
    return [mail for mail in mails if mail.attempts > 0 and mail.state is not State.SKIPPED]


def ledger_row(mail: SpooledMail, merge_id: str) -> str:
    """The mail's row in the ledger; its entry id is filled in by the merge."""
    return str(Row(mail.state, mail.attempts, mail.unknowns, "-", mail.phase, mail.at_ms, mail_token(merge_id)))


def merge_args(work: Work) -> list[Argument]:
    """ARGV of `lua/merge.lua`."""
    lead = work.lead
    args: list[Argument] = [lead.fingerprint, lead.merge_id, lead_token(lead.merge_id), mail_token(lead.merge_id)]
    args += (lead.lead_id, lead.key)
    args += _block(lead.fields)
    args += _block(_conflict(work))
    for mail in carried(work.mails):
        outcomes = [item for item in work.outcomes if item.email_id == mail.email_id]
        args += (mail.email_id, int(mail.state is State.SENT), ledger_row(mail, lead.merge_id))
        args += _block(mail.request)
        args.append(len(outcomes))
        for item in outcomes:
            args += (item.when, _STREAM_KEYS[item.stream], *_block(item.fields))
    return args


def _block(fields: Fields) -> list[Argument]:
    flat: list[Argument] = [part for pair in fields.items() for part in pair]
    return [len(flat), *flat]


def _conflict(work: Work) -> Fields:
    """Kept for a person when the stream holds another body under the same idempotency key."""
    lead = work.lead
    data = EntryDeadLettered(
        stream=keys.LEADS,
        entry_id=lead_token(lead.merge_id),
        group=keys.FANOUT,
        cause=IDEMPOTENCY_CONFLICT,
        detail="spooled while Redis was away; the entry holds the body that came first under the same idempotency key",
        fields=lead.fields,
    )
    return encode(make_event(data, subject=lead.lead_id, now=utc_now(), cause=lead.event.id, trace=lead.event.trace))


class Merger:
    """Merges leads. Raises `Backpressure` when Redis is away again; what was not merged stays in the spool."""

    def __init__(
        self, client: Client, log: StreamLog, writer: PipelinedWriter, spool: Spool, limiter: LocalLimiter
    ) -> None:
        self._client, self._log, self._writer = client, log, writer
        self._spool, self._limiter = spool, limiter

    async def prepare(self) -> None:
        """Makes sure that leads go to the right partitions, and tells all workers of the sends that started here.

        Sends that count under no limit any more are forgotten.
        """
        await check_partitions(self._client, self._log.partitions)
        longest_ms = int(max(map(span_of_s, self._limiter.every_limit().values()), default=0) * 1000)
        starts = await self._spool.starts(now_ms() - longest_ms)
        if not starts:
            return
        ahead_ms = await self._log.server_ms(0, time.monotonic()) - now_ms()
        async with self._client.pipeline(transaction=False) as pipe:
            for at_ms, address, name in starts:
                for limit, rate in self._limiter.limits_of(address).items():
                    pipe.zadd(keys.LIMITS + limit, {name: at_ms + ahead_ms})
                    pipe.pexpire(keys.LIMITS + limit, int(span_of_s(rate) * 1000) + 1000)
            await pipe.execute()

    async def merge_some(self, busy: Collection[str]) -> Merged | None:
        """Merges up to `BATCH` leads, none of `busy`; None when there was none."""
        works = await self._spool.work(BATCH, busy)
        if not works:
            return None
        await self._reserve(works)
        replies = await asyncio.gather(*map(self._merge, works), return_exceptions=True)
        results: dict[str, int] = {}
        done, refused, copies = [], [], 0
        failure: BaseException | None = None
        for work, reply in zip(works, replies, strict=True):
            if isinstance(reply, Backpressure) and reply.cause in _OF_ONE_LEAD:
                _log.error("a lead cannot be merged; it stays in the spool", lead=work.lead.lead_id, cause=reply.cause)
                refused.append(work.lead.lead_id)
            elif isinstance(reply, BaseException):
                failure = reply
            else:
                done.append(work.lead)
                label = _RESULTS[int(reply[0])]
                results[label] = results.get(label, 0) + 1
                copies += int(reply[2])
        await self._spool.drop(done)
        if failure is not None:
            raise failure
        return Merged(results, copies, tuple(refused))

    async def _merge(self, work: Work) -> list[int]:
        partition = self._log.partition(work.lead.lead_id)
        names = [keys.stream(partition, keys.LEADS), keys.ledger(partition, work.lead.lead_id)]
        names += [keys.stream(partition, name) for name in _STREAM_KEYS]
        names.append(keys.lead_keys(partition))
        reply: list[int] = await self._writer.call(scripts.MERGE, names, merge_args(work), deadline_s=_DEADLINE_S)
        if work.lead.erased is not None:  # erased here while Redis was away; erasing again changes nothing
            erasing = [keys.stream(partition, keys.LEADS), keys.ledger(partition, work.lead.lead_id), names[-1]]
            told: list[Argument] = [part for pair in work.lead.erased.items() for part in pair]
            await self._writer.call(scripts.ERASE, erasing, [work.lead.lead_id, *told], deadline_s=_DEADLINE_S)
        return reply

    async def _reserve(self, works: Sequence[Work]) -> None:
        """Sets purchased leads aside for carried mails, so that their EmailSent counts. Not for those that fan-out
        has requested itself, nor after a merge whose answer was lost: they may be counted already."""
        async with self._client.pipeline(transaction=False) as pipe:
            for work in works:
                ledger = keys.ledger(self._log.partition(work.lead.lead_id), work.lead.lead_id)
                pipe.hmget(ledger, ["lead", *(mail.email_id for mail in carried(work.mails))])
            found = await pipe.execute()
        wanted: list[Reservation] = []
        for work, (lead, *rows) in zip(works, found, strict=True):
            if lead and work.lead.merge_id in lead.decode():
                continue
            for mail, row in zip(carried(work.mails), rows, strict=True):
                if mail.subscriber_id is not None and row is None:
                    wanted.append(Reservation(mail.email_id, mail.subscriber_id, NO_LIMIT))
        await reserve(self._client, wanted)
