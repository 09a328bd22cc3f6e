"""Sends the mails of spooled leads while Redis is away: the same content, ids and phases as on the stream path.

Each attempt is on disk before anybody dials, again before its content goes out, and with its outcome. Whatever is cut
off can therefore be told apart: begun (no attempt) from sent without an answer (unknown).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from leadstream_api.fallback import verdict
from leadstream_api.fallback.database import SpoolUnavailable
from leadstream_api.fallback.rows import Outcome, SpooledLead, SpooledMail
from leadstream_api.fallback.spool import Spool
from leadstream_events import keys, logs
from leadstream_events.directory import Snapshot
from leadstream_events.errors import Permanent
from leadstream_events.ids import message_id
from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.subscriber import MailFormat
from leadstream_events.sealing import ERASED
from leadstream_events.tracing import Span
from leadstream_events.vault import Sealer
from leadstream_mail.attempt_rules import AttemptRules
from leadstream_mail.attempt_span import BUILT, CONTENT_RELEASED, RECIPIENT_ACCEPTED, attempt_span, note_outcome
from leadstream_mail.build import MailBuilder, PreparedMail, RawMail
from leadstream_mail.marks import Marks
from leadstream_mail.return_path import ReturnPaths
from leadstream_mail.smtp.breaker import Breaker
from leadstream_mail.smtp.outcome import LeaseLost, Unreachable
from leadstream_mail.smtp.outcome import Outcome as SmtpOutcome
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mail.telling import told_of

_KEEP = 256
_DISK_PAUSE_S = 0.5
_log = logs.get(__name__)


def why_skip(lead: SpooledLead, mail: SpooledMail, address: str, snapshot: Snapshot, now: datetime) -> str | None:
    """Why this mail is not to be sent, by what is known; the same rules as the mailer's."""
    if lead.erased is not None or not address:
        return ERASED
    return snapshot.why_skip(mail.subscriber_id, address, now)


def tell(outcomes: Sequence[Outcome]) -> None:
    """Logs a mail given up, once that is on disk, by its ids and class."""
    for outcome in outcomes:
        told = told_of(outcome.fields) if outcome.stream == keys.OUTCOMES and outcome.when != verdict.COPY else None
        if told and told.given_up is not None:
            _log.warning("mail given up", lead=told.lead_id, mail=told.email_id, cause=told.given_up)


class Postman:
    """Makes attempts over one pool. `still_away` is asked right before the content of a mail goes out."""

    def __init__(
        self,
        spool: Spool,
        pool: SmtpPool,
        builder: MailBuilder,
        rules: AttemptRules,
        sealer: Sealer,
        still_away: Callable[[], bool],
        observe: Callable[[str], None],
        return_paths: Callable[[], ReturnPaths],
        marks: Callable[[], Marks],
        format_of: Callable[[str | None], MailFormat],
    ) -> None:
        self._spool, self._pool, self._builder, self._rules = spool, pool, builder, rules
        self._sealer = sealer
        self._still_away, self._observe, self._return_paths = still_away, observe, return_paths
        self._marks, self._format_of = marks, format_of
        self._kept: OrderedDict[tuple[str, Kind, MailFormat], PreparedMail] = OrderedDict()
        self.breaker = Breaker()

    def address(self, lead: SpooledLead, mail: SpooledMail) -> str:
        """Where the mail goes: a sealed lead's own address is nowhere else; '' when it cannot be had."""
        if mail.address:
            return mail.address
        opened = lead.opened(self._sealer)
        return opened.email if opened else ""

    def compose(self, lead: SpooledLead, mail: SpooledMail, now: datetime) -> RawMail:
        """The mail as it goes out; `Permanent` when it cannot be written."""
        form = self._format_of(mail.subscriber_id)
        key = (lead.lead_id, mail.kind, form)
        prepared = self._kept.get(key)
        if prepared is None:
            event = lead.event
            opened = lead.opened(self._sealer)
            if opened is None:
                raise Permanent("key_missing", "the lead cannot be opened")
            prepared = self._builder.build(mail.kind, lead.lead_id, opened, event.time, form)
            self._kept[key] = prepared
            if len(self._kept) > _KEEP:
                self._kept.popitem(last=False)
        mark = self._marks().of(lead.lead_id, mail.email_id, mail.subscriber_id)
        return prepared.for_recipient(
            name=mail.name,
            address=self.address(lead, mail),
            message_id=message_id(mail.email_id, self._rules.mail_from),
            date=now,
            extra=mark.headers,
            unsubscribe=mark.unsubscribe,
        )

    async def attempt(self, lead: SpooledLead, before: SpooledMail, start: tuple[str, str]) -> None:
        """Makes one attempt, or finds that none may be made now; the spool knows which.

        `start`: what limits go by (`LocalLimiter.place_of`), and the name of the send there.
        """
        now = datetime.now(UTC)
        mail = verdict.begun(before, now)
        await self._spool.write(mail, start=(mail.at_ms, *start))
        parent, kind = mail.request.get("trace", ""), mail.kind
        with attempt_span(
            parent, lead_id=lead.lead_id, email_id=mail.email_id, kind=kind, number=mail.attempts, mode=verdict.MODE
        ) as span:
            await self._attempt(lead, before, mail, now, span)

    async def _attempt(
        self, lead: SpooledLead, before: SpooledMail, mail: SpooledMail, now: datetime, span: Span
    ) -> None:
        try:
            raw = self.compose(lead, mail, now)
        except Permanent as error:
            span.fail(error.cause)
            await self._note(*verdict.failed(lead, mail, error.cause, None, self._rules, now))
            return
        sender = self._return_paths().of(lead.lead_id, mail.email_id)
        span.event(BUILT)
        outcome = await self._pool.send(sender, raw, lambda: self._note_data(mail, span))
        note_outcome(span, outcome)
        self.breaker = self.breaker.after(outcome, asyncio.get_running_loop().time())
        await self._conclude(lead, before, mail, outcome, span.traceparent)

    async def _note_data(self, mail: SpooledMail, span: Span) -> bool:
        """True when it is on disk that the content goes out, and Redis is still away."""
        span.event(RECIPIENT_ACCEPTED)
        if not self._still_away():
            return False
        try:
            await self._spool.write(replace(mail, phase="data"))
        except SpoolUnavailable:
            return False
        span.event(CONTENT_RELEASED)
        return True

    async def _conclude(
        self, lead: SpooledLead, before: SpooledMail, mail: SpooledMail, outcome: SmtpOutcome, trace: str
    ) -> None:
        now = datetime.now(UTC)
        if isinstance(outcome, Unreachable | LeaseLost):
            if isinstance(outcome, Unreachable):
                _log.warning("smtp server unreachable", cause=outcome.failure.cause, phase=outcome.failure.phase)
            await self._note(before, ())
            return
        self._observe(type(outcome).__name__.lower())
        row, outcomes = verdict.after(lead, mail, outcome, self._rules, now)
        await self._note(row, tuple(replace(each, fields={**each.fields, "trace": trace}) for each in outcomes))

    async def _note(self, mail: SpooledMail, outcomes: tuple[Outcome, ...]) -> None:
        """Does not give up: what happened must not be forgotten while this process lives."""
        while True:
            try:
                await self._spool.write(mail, outcomes)
                tell(outcomes)
                return
            except SpoolUnavailable as error:
                _log.error("the outcome of a mail cannot be written; trying again", cause=error.cause)
                await asyncio.sleep(_DISK_PAUSE_S)
