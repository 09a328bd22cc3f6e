"""What is known of leads, read for people: the API and the command line show the same.

The ledger tells how far each mail is, and is exact at once. The timeline of attempts comes from the projection
`leads`, which may lag: `timeline_complete` says whether it has seen every attempt that the ledger knows of. Redis
errors pass through as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from leadstream_events import keys
from leadstream_events.entry_ids import entry_order
from leadstream_events.ids import WELCOME_RECIPIENT, email_id
from leadstream_events.ledger import Row, State, parse_row
from leadstream_events.log import Entry, StreamLog, read_entry
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import EmailRequested, Kind, LeadErased, LeadReceived
from leadstream_events.schemas.sealed import Locked, Sealed
from leadstream_events.schemas.subscriber import Subscriber
from leadstream_events.sealing import ERASED
from leadstream_events.views_archived import rows_of
from leadstream_events.views_leads import LeadPage, LeadSummary, LeadView, MailCounts, MailView
from leadstream_events.views_paging import Window, newest_first
from leadstream_events.views_timeline import Moment, attempts_in, mail_of, moment

_LEAD_FIELD = b"lead"
_WAITING = (State.REQUESTED, State.SENDING, State.DEFERRED, State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class _Ledger:
    """The ledger hash of a lead, parsed."""

    lead_entry: str | None
    rows: Mapping[str, Row] = field(default_factory=dict)
    erased: bool = False


def _parse_ledger(raw: Mapping[bytes, bytes]) -> _Ledger:
    rows: dict[str, Row] = {}
    for name, value in raw.items():
        if name == _LEAD_FIELD:
            continue
        try:
            rows[name.decode()] = parse_row(value.decode())
        except ValueError:  # a field of a newer version: not a mail that this code can show
            continue
    found = raw.get(_LEAD_FIELD, b"").decode().split(" ")
    return _Ledger(found[0] or None, rows, erased=found[1:2] == [ERASED])


def count_mails(rows: Iterable[Row]) -> MailCounts:
    """Counts the rows of one ledger by state."""
    states = [row.state for row in rows]
    return MailCounts(
        total=len(states),
        open=sum(state in _WAITING for state in states),
        sent=states.count(State.SENT),
        failed=states.count(State.FAILED),
        skipped=states.count(State.SKIPPED),
        held=states.count(State.HELD),
    )


async def lead_page(
    log: StreamLog,
    *,
    limit: int,
    cursor: str | None = None,
    state: str | None = None,
    source: str | None = None,
    text: str | None = None,
    window: Window | None = None,
) -> LeadPage:
    """Returns a page of leads; `window` goes by the time of storage, `text` stands in name or address.

    Raises `BadCursor`.
    """
    wanted = text.casefold() if text else None

    def keep(entry: Entry) -> bool:
        data = entry.event.data if entry.event else None
        if not isinstance(data, LeadReceived):
            return False
        lead = data.lead
        if isinstance(lead, Sealed):
            return not (wanted or state or source)
        if wanted and wanted not in lead.full_name.casefold() and wanted not in lead.email.casefold():
            return False
        return (state is None or lead.state == state) and (source is None or lead.source == source)

    found = await newest_first(log, keys.LEADS, limit=limit, cursor=cursor, window=window, keep=keep)
    ledgers = await _ledgers(log, [entry.event.subject for entry in found.entries if entry.event])
    items = [
        _summary(entry, event_ledger) for entry, event_ledger in zip(found.entries, ledgers, strict=True) if entry.event
    ]
    return LeadPage(tuple(items), found.cursor)


async def _ledgers(log: StreamLog, lead_ids: Sequence[str]) -> list[_Ledger]:
    if not lead_ids:
        return []
    async with log.client.pipeline(transaction=False) as pipe:
        for lead_id in lead_ids:
            pipe.hgetall(keys.ledger(log.partition(lead_id), lead_id))
        found = [_parse_ledger(raw) if raw else None for raw in await pipe.execute()]
    return [
        ledger or _Ledger(None, rows_of(await _archived(log, log.partition(lead_id), lead_id)))
        for lead_id, ledger in zip(lead_ids, found, strict=True)
    ]


def _summary(entry: Entry, ledger: _Ledger) -> LeadSummary:
    event = entry.event
    assert event is not None and isinstance(event.data, LeadReceived)  # noqa: S101  -- `keep` let nothing else by
    found = event.data.lead
    lead = None if isinstance(found, Sealed) else found
    return LeadSummary(
        event.subject,
        event.time,
        event.data.mode,
        lead.full_name if lead else None,
        lead.email if lead else None,
        lead.state if lead else None,
        lead.source if lead else None,
        count_mails(ledger.rows.values()),
        erased=isinstance(found, Sealed) and not isinstance(found, Locked),
        locked=isinstance(found, Locked),
    )


async def lead_view(log: StreamLog, lead_id: str, subscribers: Sequence[Subscriber] = ()) -> LeadView | None:
    """Returns a lead with its mails and their attempts, or None when no such lead was ever stored.

    `subscribers` lends names to ids.
    """
    partition = log.partition(lead_id)
    raw, refs = await asyncio.gather(
        log.client.hgetall(keys.ledger(partition, lead_id)), lead_references(log.client, partition, lead_id)
    )
    ledger = _parse_ledger(raw)
    if raw:
        entries = [entry for entry in await log.read_many(_places(partition, ledger, refs)) if entry is not None]
    else:
        entries = await _archived(log, partition, lead_id)
        ledger = _Ledger(None, rows_of(entries))
    if not raw and not entries:
        return None
    entries = await log.opened(entries)
    return _assemble(lead_id, ledger, entries, {subscriber.id: subscriber.name for subscriber in subscribers})


async def _archived(log: StreamLog, partition: int, lead_id: str) -> list[Entry]:
    """All that the archive holds of a lead whose ledger has ended; dead letters are shown elsewhere."""
    if log.older is None:
        return []
    found = await log.older.archived_of_lead(partition, lead_id)
    return [read_entry(key, entry_id, fields) for key, entry_id, fields in found if keys.name_of(key) != keys.DEAD]


async def lead_references(client: Client, partition: int, lead_id: str) -> dict[bytes, bytes]:
    """What the live generation of the projection `leads` holds of one lead."""
    pointers = keys.projection_pointer(partition)
    generation = await client.hget(pointers, "leads")
    while True:
        refs: dict[bytes, bytes] = await client.hgetall(
            keys.projection(partition, "leads", int(generation or 1), lead_id)
        )
        live = await client.hget(pointers, "leads")
        if live == generation:
            return refs
        generation = live  # a rebuild has put another one in its place, and deletes this one


def _places(partition: int, ledger: _Ledger, refs: Mapping[bytes, bytes]) -> list[tuple[str, str]]:
    """Where the events of the lead are: those the projection knows, and those the ledger itself points to."""
    known = {tuple(value.decode().split(" ", 1)) for name, value in refs.items() if name.startswith(b"@")}
    known |= {(keys.EMAILS, row.entry) for row in ledger.rows.values() if row.entry != "-"}
    if ledger.lead_entry:
        known.add((keys.LEADS, ledger.lead_entry))
    ordered = sorted((place for place in known if len(place) == 2), key=_in_order)
    return [(keys.stream(partition, name), entry_id) for name, entry_id in ordered]


def _in_order(place: tuple[str, ...]) -> tuple[tuple[int, int], bool]:
    """The order of storage; of what was stored in one step, a redrive comes before the request that it made."""
    return entry_order(place[1]), place[0] == keys.EMAILS


def _assemble(lead_id: str, ledger: _Ledger, entries: Sequence[Entry], names: Mapping[str, str]) -> LeadView:
    of_lead: list[Moment] = []
    of_mail: dict[str, list[Entry]] = {}
    received = next((e.event for e in entries if e.event and isinstance(e.event.data, LeadReceived)), None)
    for entry in entries:
        mail = mail_of(entry)
        if mail:
            of_mail.setdefault(mail, []).append(entry)
        else:
            of_lead.append(moment(entry))
    mails = [_mail_view(lead_id, mail, row, of_mail.get(mail, ()), names) for mail, row in sorted(ledger.rows.items())]
    complete = all(
        attempts_in(of_mail.get(mail, ())) >= row.attempts - (row.state is State.SENDING)
        for mail, row in ledger.rows.items()
        if row.state is not State.SKIPPED  # begun, and then no attempt was made
    )
    data = received.data if received and isinstance(received.data, LeadReceived) else None
    lead = data.lead if data else None
    told = any(entry.event and isinstance(entry.event.data, LeadErased) for entry in entries)
    return LeadView(
        lead_id=lead_id,
        received_at=received.time if received else None,
        mode=data.mode if data else None,
        trace=received.trace or None if received else None,
        lead=None if isinstance(lead, Sealed) else lead,
        erased=told or ledger.erased or (isinstance(lead, Sealed) and not isinstance(lead, Locked)),
        mails=tuple(sorted(mails, key=lambda mail: (mail.kind is Kind.WELCOME, mail.subscriber_name or ""))),
        timeline=tuple(of_lead),
        timeline_complete=complete,
        locked=isinstance(lead, Locked),
    )


def _mail_view(lead_id: str, mail: str, row: Row, entries: Sequence[Entry], names: Mapping[str, str]) -> MailView:
    kind, subscriber_id = _recipient(lead_id, mail, entries, names)
    at = datetime.fromtimestamp(row.at_ms / 1000, UTC) if row.at_ms else None
    return MailView(
        email_id=mail,
        kind=kind,
        subscriber_id=subscriber_id,
        subscriber_name=names.get(subscriber_id) if subscriber_id else None,
        state=row.state,
        attempts=row.attempts,
        unknown_attempts=row.unknowns,
        phase=row.phase if row.phase != "-" and row.state is State.SENDING else None,
        changed_at=None if row.state is State.DEFERRED else at,
        next_attempt_at=at if row.state is State.DEFERRED else None,
        timeline=tuple(moment(entry) for entry in entries),
    )


def _recipient(
    lead_id: str, mail: str, entries: Sequence[Entry], names: Mapping[str, str]
) -> tuple[Kind | None, str | None]:
    """Kind and subscriber, from the request if it can be read, else by deriving the id again (`ids.email_id`)."""
    for entry in entries:
        if entry.event and isinstance(entry.event.data, EmailRequested):
            return entry.event.data.kind, entry.event.data.subscriber_id
    if mail == email_id(lead_id, Kind.WELCOME, WELCOME_RECIPIENT):
        return Kind.WELCOME, None
    for subscriber_id in names:
        if mail == email_id(lead_id, Kind.NOTIFICATION, subscriber_id):
            return Kind.NOTIFICATION, subscriber_id
    return None, None
