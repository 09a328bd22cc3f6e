"""Mails that were not sent because their address got none: found again once it is released, and sent if wanted.

Each is sent once, whoever asks how often: its row says whether it is still a skipped one (`redrive.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from leadstream_events import keys
from leadstream_events.log import StreamLog
from leadstream_events.redrive import Redriver
from leadstream_events.redrive_rules import Actor, Refusal
from leadstream_events.schemas.events import EmailSkipped

WHY = "released, and sent what was held back"
DEFAULT_WITHIN_S = 7 * 86_400.0
# What `Snapshot.why_silent` says of an address.
REASONS = ("suppressed", "unsubscribed")
_PAGE = 500


@dataclass(frozen=True, slots=True)
class SkippedMail:
    """One mail that was skipped."""

    lead_id: str
    email_id: str


async def find(log: StreamLog, subscriber_id: str, since: datetime) -> list[SkippedMail]:
    """Returns the subscriber's mails that were skipped since then for their address, oldest first.

    Reads the outcomes that are still in the streams; what the archive alone holds cannot be sent again.
    """
    found: dict[SkippedMail, None] = {}
    for partition in range(log.partitions):
        async for lead_id, data in _skipped(log, partition, since):
            if data.subscriber_id == subscriber_id and data.reason in REASONS:
                found[SkippedMail(lead_id, data.email_id)] = None
    return list(reversed(found))


async def _skipped(log: StreamLog, partition: int, since: datetime) -> AsyncIterator[tuple[str, EmailSkipped]]:
    """Newest first."""
    stream, before, oldest_ms = keys.stream(partition, keys.OUTCOMES), "+", int(since.timestamp() * 1000)
    while page := await log.newest(stream, _PAGE, before):
        for entry in page:
            if int(entry.entry_id.partition("-")[0]) < oldest_ms:
                return
            if entry.event and isinstance(entry.event.data, EmailSkipped):
                yield entry.event.subject, entry.event.data
        before = page[-1].entry_id


async def send(redriver: Redriver, mails: Sequence[SkippedMail], actor: Actor) -> Counter[Refusal | None]:
    """Has these sent; returns how many ended how, None stands for requested anew. Redis errors pass through."""
    done: Counter[Refusal | None] = Counter()
    for mail in mails:
        done[(await redriver.send_held_back(mail.lead_id, mail.email_id, actor)).refusal] += 1
    return done
