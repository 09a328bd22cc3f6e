"""What comes back about a mail after it was accepted: bounces and complaints, from whatever source.

One path for all of them: find the mail, make sure that the report is about its recipient, store the event once per
report (`lua/report.lua`), then do what follows for the address. The two steps are in different slots; a crash between
them heals when the report is told again, and a report that was dealt with once never suppresses anew, so a person's
release stands. A purchased lead stays used up: the mail was delivered as far as the sender can tell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from leadstream_events import keys, scripts
from leadstream_events.address_digest import digest
from leadstream_events.effects import Argument
from leadstream_events.envelope import Event, flat, make_event
from leadstream_events.errors import NotFound
from leadstream_events.ids import partition_of
from leadstream_events.ledger import parse_row
from leadstream_events.log import read_entry
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import EmailBounced, EmailComplained, EmailRequested, LeadReceived
from leadstream_events.schemas.lead import Lead, address_key, normal_address
from leadstream_events.schemas.subscriber import Suppression
from leadstream_events.settings import Settings
from leadstream_events.signing import signing_secrets
from leadstream_events.subscribers import SubscriberStore
from leadstream_events.suppression_rules import REPORTS, ReportClass, SuppressionRules, Verdict, is_complaint, judge
from leadstream_events.vault import Vault, sealer_of

MAX_REPORTS = 20
_DETAIL = 500
_ID = re.compile(r"[\x21-\x7e]{1,200}")
_LOCAL_PART = re.compile(r"[^\s<>()\[\],;:\"'@]+@(?=[\w.-]*\w)")


@dataclass(frozen=True, slots=True)
class Report:
    """One report about one mail, whose sender was authenticated before: a signed token, or a provider's signature.

    `report_id` names the report, so that the same one told again is known: printable ASCII without blanks, up to 200
    characters. `recipient` is whom the report is about, None when it does not say. `source` is where it came from, for
    example `smtp`. `at` is when it came in.
    """

    lead_id: str
    email_id: str
    report_class: ReportClass
    source: str
    report_id: str
    at: datetime
    recipient: str | None = None
    code: int | None = None
    enhanced: str | None = None
    detail: str = ""
    feedback_type: str | None = None


class Came(StrEnum):
    """What came of a report."""

    NEW = "new"
    REPEATED = "repeated"
    # Nothing was stored:
    UNKNOWN_MAIL = "unknown_mail"
    OTHER_ADDRESS = "other_address"
    TOO_MANY = "too_many"
    # An answering machine, or feedback that is no complaint.
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Recorded:
    """`suppressed` is the reason for which the address was suppressed just now, empty if it was not."""

    came: Came
    event_id: str = ""
    suppressed: str = ""

    @property
    def known(self) -> bool:
        """True when the mail is ours and the report about its recipient."""
        return self.came in (Came.NEW, Came.REPEATED, Came.TOO_MANY)


@dataclass(frozen=True, slots=True)
class _Mail:
    request: EmailRequested
    cause: str
    trace: str
    address: str
    others: frozenset[str]

    def about(self, recipient: str | None) -> str | None:
        """The address that a report is about, or None when it is none of this mail's.

        '' where it cannot be told: the lead was erased, or its key is not at hand. Nobody is suppressed then.
        """
        if recipient is None or not self.address:
            return self.address
        wanted = _comparable(recipient)
        return next((item for item in (self.address, *self.others) if _comparable(item) == wanted), None)


def _comparable(address: str) -> str:
    try:
        return address_key(normal_address(address.strip()))
    except ValueError:
        return address_key(address)


def without_addresses(text: str) -> str:
    """One line of up to 500 characters in which addresses have lost their local part: events hold none of them."""
    return _LOCAL_PART.sub("***@", " ".join(text.split()))[:_DETAIL]


async def record(client: Client, settings: Settings, report: Report) -> Recorded:
    """Stores a report and does what follows from it. Redis errors pass through: telling the report again is safe.

    Nothing is stored for a mail that is not known, for an address that the mail did not go to, and for feedback that is
    no complaint. ValueError for a report id that cannot be one.
    """
    if not _ID.fullmatch(report.report_id):
        raise ValueError("report_id must be 1 to 200 printable characters without blanks")
    if report.report_class not in REPORTS or _no_complaint(report):
        return Recorded(Came.IGNORED)
    partition = partition_of(report.lead_id, settings.partitions)
    mail = await _find(client, settings, partition, report)
    if mail is None:
        return Recorded(Came.UNKNOWN_MAIL)
    address = mail.about(report.recipient)
    if address is None:
        return Recorded(Came.OTHER_ADDRESS)
    what, event_id = await _store(client, partition, mail, report)
    if what == b"unknown":
        return Recorded(Came.UNKNOWN_MAIL)
    if what == b"full":
        return Recorded(Came.TOO_MANY)
    reason = ""
    if what != b"done":
        reason = await _apply(client, settings, mail, address, event_id, report)
        mark = f"report {report.email_id} {report.report_id}"
        await client.hset(keys.ledger(partition, report.lead_id), mark, f"{event_id} done")
    return Recorded(Came.NEW if what == b"new" else Came.REPEATED, event_id, reason)


async def refused(client: Client, settings: Settings, report: Report, event_id: str) -> str:
    """Does what follows for a subscriber's address that a server refused in session; returns the reason if suppressed.

    `event_id` is that of the outcome, which is stored already, so nothing is added to the timeline. Telling it again
    changes nothing once it was done, so that a person's release stands. Nothing follows when the subscriber's address
    was changed meanwhile: nobody knows which one was refused, and the next mail tells. Redis errors pass through.
    """
    partition = partition_of(report.lead_id, settings.partitions)
    ledger, mark = keys.ledger(partition, report.lead_id), f"report {report.email_id} {report.report_id}"
    if await client.hexists(ledger, mark):
        return ""
    mail = await _find(client, settings, partition, report)
    if mail is None or mail.request.subscriber_id is None or mail.about(mail.request.to) != mail.address:
        return ""
    reason = await _apply(client, settings, mail, mail.address, event_id, report)
    await client.hset(ledger, mark, f"{event_id} done")
    return reason


def _no_complaint(report: Report) -> bool:
    return report.report_class is ReportClass.COMPLAINT and not is_complaint(report.feedback_type or "")


async def _find(client: Client, settings: Settings, partition: int, report: Report) -> _Mail | None:
    """The mail by its ledger row and the request that this points to."""
    stored = await client.hget(keys.ledger(partition, report.lead_id), report.email_id)
    try:
        row = parse_row(stored.decode()) if stored else None
    except ValueError:
        row = None
    if row is None or row.entry == "-":
        return None
    stream = keys.stream(partition, keys.EMAILS)
    found = await client.xrange(stream, row.entry, row.entry)
    event = read_entry(stream, *found[0]).event if found else None
    if event is None or not isinstance(event.data, EmailRequested):
        return None
    if event.data.subscriber_id is None and not event.data.to:
        address = await _lead_address(client, settings, partition, event.data.lead_entry)
        return _Mail(event.data, event.id, event.trace, address, frozenset())
    return await _with_addresses(client, event, event.data)


async def _lead_address(client: Client, settings: Settings, partition: int, lead_entry: str) -> str:
    """The address of a sealed lead, to whom the mail itself went; '' when it cannot be opened here."""
    stream = keys.stream(partition, keys.LEADS)
    found = await client.xrange(stream, lead_entry, lead_entry)
    entries = await Vault(client, sealer_of(settings)).open([read_entry(stream, *entry) for entry in found])
    data = entries[0].event.data if entries and entries[0].event else None
    return data.lead.email if isinstance(data, LeadReceived) and isinstance(data.lead, Lead) else ""


async def _with_addresses(client: Client, event: Event, request: EmailRequested) -> _Mail:
    """A mail goes to the subscriber's address of its time: the one of the request or the one of now may be meant."""
    address, others = request.to, frozenset[str]()
    if request.subscriber_id is not None:
        try:
            address = (await SubscriberStore(client).get(request.subscriber_id)).email
            others = frozenset((request.to,))
        except NotFound:
            pass
    return _Mail(request, event.id, event.trace, address, others)


async def _store(client: Client, partition: int, mail: _Mail, report: Report) -> tuple[bytes, str]:
    data = _data(mail, report, again=False)
    first = make_event(data, subject=report.lead_id, now=report.at, cause=mail.cause, trace=mail.trace)
    later = replace(first, data=_data(mail, report, again=True))
    complaint = report.report_class is ReportClass.COMPLAINT
    args: list[Argument] = [report.email_id, report.report_id, "complained" if complaint else "bounced", MAX_REPORTS]
    args.append(first.id)
    for event in (first, later):
        fields = flat(event)
        args += [len(fields), *fields]
    names = [keys.ledger(partition, report.lead_id), keys.stream(partition, keys.OUTCOMES)]
    what, event_id = await scripts.run(client, scripts.REPORT, names, args)
    return what, event_id.decode()


def _data(mail: _Mail, report: Report, *, again: bool) -> EmailBounced | EmailComplained:
    request = mail.request
    if report.report_class is ReportClass.COMPLAINT:
        return EmailComplained(
            email_id=report.email_id,
            kind=request.kind,
            subscriber_id=request.subscriber_id,
            reservation=request.reservation,
            feedback_type=without_addresses(report.feedback_type or "abuse")[:64],
            report_id=report.report_id,
            source=report.source,
            again=again,
        )
    return EmailBounced(
        email_id=report.email_id,
        kind=request.kind,
        subscriber_id=request.subscriber_id,
        reservation=request.reservation,
        bounce_class=report.report_class.value,
        code=report.code,
        enhanced=report.enhanced,
        detail=without_addresses(report.detail),
        report_id=report.report_id,
        source=report.source,
        again=again,
    )


async def _apply(client: Client, settings: Settings, mail: _Mail, address: str, event_id: str, report: Report) -> str:
    """Suppresses the address if the rules say so and it is not suppressed already; returns the reason.

    A lead's own address is suppressed as its digest: erasing the lead leaves no address behind.
    """
    if not address:
        return ""
    if mail.request.subscriber_id is None and address:
        address = digest((await signing_secrets(client, settings))[0], address)
    rules = SuppressionRules(settings.soft_bounces, settings.soft_bounces_within)
    soft = 0
    if report.report_class is ReportClass.SOFT:
        soft = await _count_soft(client, address, event_id, report.at, rules)
    detail = report.feedback_type or "abuse" if report.report_class is ReportClass.COMPLAINT else report.enhanced or ""
    verdict = judge(report.report_class, without_addresses(detail)[:64], soft, rules, report.at)
    if verdict is None or not await _worse(client, address, verdict, report.at):
        return ""
    suppression = Suppression(
        address=address, reason=verdict.reason, created_at=report.at, expires_at=verdict.expires_at
    )
    await SubscriberStore(client).suppress(suppression, report.at)
    return verdict.reason


async def _count_soft(client: Client, address: str, event_id: str, at: datetime, rules: SuppressionRules) -> int:
    """Notes a soft bounce, once however often it is told, and returns how many there are in the time."""
    key = keys.soft_bounces(address_key(address))
    oldest = at - timedelta(seconds=rules.within_s)
    async with client.pipeline(transaction=True) as pipe:
        pipe.zadd(key, {event_id: at.timestamp()}, nx=True)
        pipe.zremrangebyscore(key, "-inf", oldest.timestamp())
        pipe.zcard(key)
        pipe.expire(key, int(rules.within_s) + 1)
        replies = await pipe.execute()
    return int(replies[2])


async def _worse(client: Client, address: str, verdict: Verdict, now: datetime) -> bool:
    """True unless the address is suppressed for at least as long anyway: the first reason stays."""
    raw = await client.hget(keys.SUPPRESSIONS, address_key(address))
    held = Suppression.model_validate_json(raw) if raw else None
    if held is None or not held.holds(now):
        return True
    return held.expires_at is not None and (verdict.expires_at is None or held.expires_at < verdict.expires_at)
