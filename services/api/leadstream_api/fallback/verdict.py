"""From the outcome of an attempt to what the spool stores: pure. The rules are those of the mailer, without Redis.

Each function returns the mail's new row and the events that a merge appends for it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from leadstream_api.fallback.rows import Outcome, SpooledLead, SpooledMail
from leadstream_events import keys
from leadstream_events.envelope import decode, encode, make_event
from leadstream_events.ids import message_id, partition_of
from leadstream_events.ledger import State
from leadstream_events.recipients import Candidate
from leadstream_events.runtime.delivery import Delivery, dead_letter
from leadstream_events.schemas.events import (
    EmailDeferred,
    EmailFailed,
    EmailOutcomeUnknown,
    EmailRequested,
    EmailSent,
    EventData,
    Kind,
    SmtpFailure,
)
from leadstream_events.sealed_leads import needs_key
from leadstream_events.setting_values import OnUnknown
from leadstream_mail.attempt_rules import OUTCOME_UNKNOWN, RETRIES_EXHAUSTED, AttemptRules, refusal_cause
from leadstream_mail.smtp.outcome import Accepted, Deferred, Refused, Unknown

MODE = "fallback"
DUPLICATE = "duplicate"
OWN, MARK, COPY = "own", "mark", "copy"

Change = tuple[SpooledMail, tuple[Outcome, ...]]


def lead_token(merge_id: str) -> str:
    """Stands for the entry id of the LeadReceived until the merge knows it; nobody outside can guess it."""
    return f"lead:{merge_id}"


def mail_token(merge_id: str) -> str:
    """Stands for the entry id of the EmailRequested."""
    return f"mail:{merge_id}"


def milliseconds(at: datetime) -> int:
    """A time as the ledger stores it."""
    return int(at.timestamp() * 1000)


def requested(lead: SpooledLead, candidate: Candidate, name: str | None, now: datetime) -> SpooledMail:
    """The row of a mail that the API takes on; it names no sealed lead's own address."""
    address = "" if candidate.kind is Kind.WELCOME and needs_key(lead.event) else candidate.to
    data = EmailRequested(
        email_id=candidate.email_id,
        kind=candidate.kind,
        subscriber_id=candidate.subscriber_id,
        to=address,
        lead_entry=lead_token(lead.merge_id),
    )
    event = make_event(data, subject=lead.lead_id, now=now, cause=lead.event.id, trace=lead.event.trace)
    return SpooledMail(
        candidate.email_id,
        lead.lead_id,
        candidate.kind,
        candidate.subscriber_id,
        name,
        address,
        State.REQUESTED,
        0,
        0,
        "-",
        milliseconds(now),
        encode(event),
    )


def begun(mail: SpooledMail, now: datetime) -> SpooledMail:
    """One more attempt begins."""
    return replace(mail, state=State.SENDING, attempts=mail.attempts + 1, phase="begin", at_ms=milliseconds(now))


def recovered(lead: SpooledLead, mail: SpooledMail, rules: AttemptRules, now: datetime) -> Change:
    """What becomes of a mail that a dead process was sending: cut off before its content it was no attempt."""
    if mail.phase == "data":
        return unknown(lead, mail, "the process died after the content was sent", rules, now, delay_s=0.0)
    attempts = max(0, mail.attempts - 1)
    state = State.DEFERRED if attempts else State.REQUESTED
    return replace(mail, state=state, attempts=attempts, phase="-", at_ms=milliseconds(now)), ()


def after(
    lead: SpooledLead,
    mail: SpooledMail,
    outcome: Accepted | Deferred | Refused | Unknown,
    rules: AttemptRules,
    now: datetime,
) -> Change:
    """What an answered (or unanswered) attempt leads to."""
    match outcome:
        case Accepted():
            return _sent(lead, mail, outcome, rules, now)
        case Deferred(failure=failure):
            return _deferred(lead, mail, failure, rules, now)
        case Refused(failure=failure):
            return failed(lead, mail, refusal_cause(failure), failure, rules, now)
        case Unknown(failure=failure):
            return unknown(lead, mail, failure.cause, rules, now, delay_s=rules.delay_s(mail.attempts))


def _base(mail: SpooledMail) -> dict[str, str | None]:
    return {"email_id": mail.email_id, "kind": mail.kind.value, "subscriber_id": mail.subscriber_id}


def _event(mail: SpooledMail, data: EventData, now: datetime, when: str) -> Outcome:
    made = make_event(
        data, subject=mail.lead_id, now=now, cause=mail.request["id"], trace=mail.request.get("trace", "")
    )
    return Outcome(mail.email_id, when, keys.OUTCOMES, encode(made))


def _dead(lead: SpooledLead, mail: SpooledMail, cause: str, detail: str, rules: AttemptRules, now: datetime) -> Outcome:
    """The dead letter that the mailer would have written."""
    fields = {name.encode(): value.encode() for name, value in mail.request.items()}
    partition = partition_of(mail.lead_id, rules.partitions)
    stream = keys.stream(partition, keys.EMAILS)
    delivery = Delivery(partition, stream, mail_token(lead.merge_id), fields, decode(fields))
    effect = dead_letter(delivery, keys.MAILER, cause, detail, now)
    flat = [str(part) for part in effect.args[1:]]
    return Outcome(mail.email_id, OWN, keys.DEAD, dict(zip(flat[::2], flat[1::2], strict=True)))


def _sent(lead: SpooledLead, mail: SpooledMail, outcome: Accepted, rules: AttemptRules, now: datetime) -> Change:
    data = EmailSent(
        **_base(mail),
        attempt=mail.attempts,
        code=outcome.code,
        reply=outcome.reply,
        message_id=message_id(mail.email_id, rules.mail_from),
        after_unknown=mail.unknowns > 0,
        mode=MODE,
    )
    twice = EmailOutcomeUnknown(
        **_base(mail),
        attempt=mail.attempts,
        policy=DUPLICATE,
        detail="sent by the API while Redis was away, and by a worker",
    )
    row = replace(mail, state=State.SENT, phase="accepted", at_ms=milliseconds(now))
    return row, (_event(mail, data, now, OWN), _event(mail, twice, now, COPY))


def _deferred(lead: SpooledLead, mail: SpooledMail, failure: SmtpFailure, rules: AttemptRules, now: datetime) -> Change:
    if mail.attempts >= rules.max_attempts:
        return failed(lead, mail, RETRIES_EXHAUSTED, failure, rules, now)
    at = now + timedelta(seconds=rules.delay_s(mail.attempts))
    data = EmailDeferred(**_base(mail), attempt=mail.attempts, failure=failure, next_attempt_at=at)
    row = replace(mail, state=State.DEFERRED, phase=failure.phase, at_ms=milliseconds(at))
    return row, (_event(mail, data, now, OWN),)


def failed(
    lead: SpooledLead, mail: SpooledMail, cause: str, failure: SmtpFailure | None, rules: AttemptRules, now: datetime
) -> Change:
    """The mail is given up."""
    data = EmailFailed(**_base(mail), attempt=mail.attempts, cause=cause, failure=failure)
    detail = f"{failure.cause}: {failure.line}" if failure else ""
    row = replace(mail, state=State.FAILED, phase=failure.phase if failure else "-", at_ms=milliseconds(now))
    return row, (_event(mail, data, now, OWN), _dead(lead, mail, cause, detail, rules, now))


def unknown(
    lead: SpooledLead, mail: SpooledMail, detail: str, rules: AttemptRules, now: datetime, *, delay_s: float
) -> Change:
    """The answer to DATA was never learned: once more with the same Message-ID, or kept for a person."""
    policy = rules.after_unknown(mail.attempts, mail.unknowns)
    again = policy is OnUnknown.RESEND
    data = EmailOutcomeUnknown(**_base(mail), attempt=mail.attempts, policy=policy, detail=detail)
    at = now + timedelta(seconds=delay_s if again else 0.0)
    state = State.UNKNOWN if again else State.HELD
    row = replace(mail, state=state, unknowns=mail.unknowns + 1, phase="data", at_ms=milliseconds(at))
    told = _event(mail, data, now, MARK)
    return row, (told,) if again else (told, _dead(lead, mail, OUTCOME_UNKNOWN, detail, rules, now))
