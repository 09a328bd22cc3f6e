"""Marks a mail that an SMTP server accepted although it had become somebody else's meanwhile.

That happens when a merge says that the API sent it while Redis was away (docs/decisions/0007-fallback.md), or when the
lease ran out during the dialogue. Whoever holds the mail now tells its outcome; here it is only said that a copy went.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from structlog.stdlib import get_logger

from leadstream_events import keys, scripts
from leadstream_events.effects import Settlement, commit_call
from leadstream_events.envelope import Event, decode, flat, make_event
from leadstream_events.redis_client import Client, classify
from leadstream_events.schemas.events import EmailOutcomeUnknown, EmailSent

logger = get_logger("leadstream.mailer")

DUPLICATE = "duplicate"
_PAUSE_S = 0.5


def sent_event(settlement: Settlement) -> Event | None:
    """The EmailSent that this settlement would have stored, if it is one of an accepted mail."""
    for effect in settlement.effects:
        if effect.command == "XADD" and keys.name_of(effect.key) == keys.OUTCOMES:
            parts = [str(part).encode() for part in effect.args[1:]]
            event = decode(dict(zip(parts[::2], parts[1::2], strict=True)))
            if isinstance(event.data, EmailSent):
                return event
    return None


def _row(settlement: Settlement) -> str | None:
    """The ledger row that this settlement would have written."""
    fence = settlement.fence
    for effect in settlement.effects:
        if fence and effect.command == "HSET" and effect.key == fence.key and effect.args[0] == fence.field:
            return str(effect.args[1])
    return None


async def mark_copy(client: Client, settlement: Settlement) -> bool:
    """Appends EmailOutcomeUnknown for a refused settlement of an accepted mail; True when it did.

    A settlement whose reply was lost took effect: its own row is there, and nothing is marked. Does not give up while
    Redis is away; a lost reply may mark twice.
    """
    event, fence = sent_event(settlement), settlement.fence
    if event is None or fence is None or not isinstance(event.data, EmailSent):
        return False
    sent = event.data
    data = EmailOutcomeUnknown(
        email_id=sent.email_id,
        kind=sent.kind,
        subscriber_id=sent.subscriber_id,
        attempt=sent.attempt,
        policy=DUPLICATE,
        detail="accepted by the SMTP server after the mail had become somebody else's",
    )
    mark = make_event(data, subject=event.subject, now=datetime.now(UTC), cause=event.cause, trace=event.trace)
    outcomes = next(effect.key for effect in settlement.effects if effect.command == "XADD")
    while True:
        try:
            found = await client.hget(fence.key, fence.field)
            if found is not None and found.decode() == _row(settlement):
                return False
            await client.execute_command("XADD", outcomes, "*", *flat(mark))
            logger.warning("a mail went twice; it is marked", email_id=sent.email_id)
            return True
        except Exception as error:
            if classify(error) is None:
                raise
        await asyncio.sleep(_PAUSE_S)


async def settle_late(client: Client, partition: int, consumer: str, settlement: Settlement) -> None:
    """Carries out what a dead process could not; marks the mail when it is somebody else's by now."""
    names, args = commit_call(keys.MAILER, consumer, keys.checkpoints(partition), [settlement])
    [done] = await scripts.run(client, scripts.COMMIT, names, args)
    if done != 1:
        await mark_copy(client, settlement)
