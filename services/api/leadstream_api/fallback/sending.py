"""Sends the mails of spooled leads while Redis is away: the same content, ids and phases as on the stream path.

Each attempt is on disk before anybody dials, again before its content goes out, and with its outcome. Whatever is cut
off can therefore be told apart: begun (no attempt) from sent without an answer (unknown).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from leadstream_api.fallback import verdict
from leadstream_api.fallback.database import SpoolUnavailable
from leadstream_api.fallback.rows import Outcome, SpooledLead, SpooledMail
from leadstream_api.fallback.spool import Spool
from leadstream_events import logs
from leadstream_events.directory import Snapshot
from leadstream_events.errors import Permanent
from leadstream_events.ids import message_id
from leadstream_events.schemas.events import Kind
from leadstream_mail.attempt_rules import AttemptRules
from leadstream_mail.build import MailBuilder, PreparedMail, RawMail
from leadstream_mail.smtp.breaker import Breaker
from leadstream_mail.smtp.outcome import LeaseLost, Unreachable
from leadstream_mail.smtp.outcome import Outcome as SmtpOutcome
from leadstream_mail.smtp.pool import SmtpPool

_KEEP = 256
_DISK_PAUSE_S = 0.5
_log = logs.get(__name__)


def why_skip(mail: SpooledMail, snapshot: Snapshot, now: datetime) -> str | None:
    """Why this mail is not to be sent, by what is known; the same rules as the mailer's."""
    if mail.subscriber_id is not None:
        subscriber = snapshot.subscribers.get(mail.subscriber_id)
        if subscriber is None:
            return "removed"
        if not subscriber.active:
            return "inactive"
    return "suppressed" if snapshot.suppressed(mail.address, now) else None


class Postman:
    """Makes attempts over one pool. `still_away` is asked right before the content of a mail goes out."""

    def __init__(
        self,
        spool: Spool,
        pool: SmtpPool,
        builder: MailBuilder,
        rules: AttemptRules,
        still_away: Callable[[], bool],
        observe: Callable[[str], None],
    ) -> None:
        self._spool, self._pool, self._builder, self._rules = spool, pool, builder, rules
        self._still_away, self._observe = still_away, observe
        self._kept: OrderedDict[tuple[str, Kind], PreparedMail] = OrderedDict()
        self.breaker = Breaker()

    def compose(self, lead: SpooledLead, mail: SpooledMail, now: datetime) -> RawMail:
        """The mail as it goes out; `Permanent` when it cannot be written."""
        key = (lead.lead_id, mail.kind)
        prepared = self._kept.get(key)
        if prepared is None:
            event = lead.event
            prepared = self._builder.build(mail.kind, lead.lead_id, lead.received.lead, event.time)
            self._kept[key] = prepared
            if len(self._kept) > _KEEP:
                self._kept.popitem(last=False)
        return prepared.for_recipient(
            name=mail.name,
            address=mail.address,
            message_id=message_id(mail.email_id, self._rules.mail_from),
            date=now,
        )

    async def attempt(self, lead: SpooledLead, before: SpooledMail, start_name: str) -> None:
        """Makes one attempt, or finds that none may be made now; the spool knows which."""
        now = datetime.now(UTC)
        mail = verdict.begun(before, now)
        await self._spool.write(mail, start=(mail.at_ms, mail.address, start_name))
        try:
            raw = self.compose(lead, mail, now)
        except Permanent as error:
            await self._note(*verdict.failed(lead, mail, error.cause, None, self._rules, now))
            return
        outcome = await self._pool.send(self._rules.mail_from, raw, lambda: self._note_data(mail))
        self.breaker = self.breaker.after(outcome, asyncio.get_running_loop().time())
        await self._conclude(lead, before, mail, outcome)

    async def _note_data(self, mail: SpooledMail) -> bool:
        """True when it is on disk that the content goes out, and Redis is still away."""
        if not self._still_away():
            return False
        try:
            await self._spool.write(replace(mail, phase="data"))
        except SpoolUnavailable:
            return False
        return True

    async def _conclude(self, lead: SpooledLead, before: SpooledMail, mail: SpooledMail, outcome: SmtpOutcome) -> None:
        now = datetime.now(UTC)
        if isinstance(outcome, Unreachable | LeaseLost):
            if isinstance(outcome, Unreachable):
                _log.warning("smtp server unreachable", cause=outcome.failure.cause, phase=outcome.failure.phase)
            await self._note(before, ())
            return
        self._observe(type(outcome).__name__.lower())
        await self._note(*verdict.after(lead, mail, outcome, self._rules, now))

    async def _note(self, mail: SpooledMail, outcomes: tuple[Outcome, ...]) -> None:
        """Does not give up: what happened must not be forgotten while this process lives."""
        while True:
            try:
                await self._spool.write(mail, outcomes)
                return
            except SpoolUnavailable as error:
                _log.error("the outcome of a mail cannot be written; trying again", cause=error.cause)
                await asyncio.sleep(_DISK_PAUSE_S)
