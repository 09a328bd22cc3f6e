"""The shapes of leads as they are shown: in lists, and one with its mails."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from leadstream_events.ledger import State
from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.lead import Lead
from leadstream_events.views_timeline import Moment


@dataclass(frozen=True, slots=True)
class MailCounts:
    """How many mails of a lead are in which state; `open` ones may still be sent."""

    total: int = 0
    open: int = 0
    sent: int = 0
    failed: int = 0
    skipped: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True)
class LeadSummary:
    """A lead in a list. `locked`: its key-encryption key is not at hand here; erased or locked it has no data."""

    lead_id: str
    received_at: datetime
    mode: str
    full_name: str | None
    email: str | None
    state: str | None
    source: str | None
    mails: MailCounts
    erased: bool = False
    locked: bool = False


@dataclass(frozen=True, slots=True)
class LeadPage:
    """Some leads, newest first. `next_cursor` is None on the last page; a page may be empty and still have a next."""

    items: tuple[LeadSummary, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class MailView:
    """One mail of a lead. `next_attempt_at` is set while deferred; `phase` while an attempt is under way."""

    email_id: str
    kind: Kind | None
    subscriber_id: str | None
    subscriber_name: str | None
    state: State
    attempts: int
    unknown_attempts: int
    phase: str | None
    changed_at: datetime | None
    next_attempt_at: datetime | None
    timeline: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class LeadView:
    """A lead with all that happened to it. `lead` is None once its entry was trimmed away or erased, and where it is
    `locked`: its key-encryption key is not at hand here."""

    lead_id: str
    received_at: datetime | None
    mode: str | None
    trace: str | None
    lead: Lead | None
    erased: bool
    mails: tuple[MailView, ...]
    timeline: tuple[Moment, ...]
    timeline_complete: bool
    locked: bool = False
