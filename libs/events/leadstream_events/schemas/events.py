"""Every event that leadstream stores, by name, with its version.

An event is a fact in the past tense. Its data model here is the newest version; `registry.py` reads older ones.
Outcome events name the subscriber and never an address: they are read by many and kept long.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Tag

from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.sealed import Sealed
from leadstream_events.schemas.subscriber import Subscriber, Suppression


class Kind(StrEnum):
    """Which of the two mails of a lead."""

    NOTIFICATION = "notification"
    WELCOME = "welcome"


class EventData(BaseModel):
    """Base of the `data` part of events; unknown fields are refused so that typing errors show at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _how_stored(lead: object) -> str:
    """Only the form that is meant is tried, so that errors name its fields and no other's."""
    return "sealed" if isinstance(lead, Sealed) or (isinstance(lead, dict) and "sealed" in lead) else "plain"


class LeadReceived(EventData):
    """A lead was accepted. `mode` says by which door: stream, batch or fallback.

    A lead is stored `Sealed` unless encryption is off; `vault.py` opens it. Version 1 knew it in the clear only.
    """

    lead: Annotated[Annotated[Sealed, Tag("sealed")] | Annotated[Lead, Tag("plain")], Discriminator(_how_stored)]
    mode: str = "stream"


class LeadErased(EventData):
    """The personal data of a lead was erased on request."""

    by: str
    reason: str = ""


class _OfEmail(EventData):
    """`reservation` numbers the purchased leads set aside for one mail: a failed mail gave its one back."""

    email_id: str
    kind: Kind
    subscriber_id: str | None = None
    reservation: int = 0


class EmailRequested(_OfEmail):
    """One mail to one recipient is to be sent. `lead_entry` is the entry id of its LeadReceived.

    A redriven mail is requested anew: `redrives` counts how often, `attempts_before` the attempts made until then.
    `to` is empty where the recipient is a sealed lead itself: its address is read when the mail's turn comes (version 1
    always had it).
    """

    to: str = ""
    lead_entry: str
    redrives: int = 0
    attempts_before: int = 0


class SmtpFailure(EventData):
    """Why one attempt failed, as the SMTP server or the socket said it (RFC 5321, RFC 3463)."""

    permanent: bool
    phase: str
    code: int | None = None
    enhanced: str | None = None
    command: str | None = None
    line: str = ""
    cause: str = ""


class EmailSent(_OfEmail):
    """The SMTP server took responsibility for the mail (RFC 5321 section 4.2.5): it may still bounce.

    `after_unknown` marks a mail that may have gone twice: an earlier attempt's outcome was never learned.
    """

    attempt: int
    code: int
    reply: str
    message_id: str
    after_unknown: bool = False
    mode: str = "stream"


class EmailDeferred(_OfEmail):
    """One attempt failed in a way that may pass; the next one is due at `next_attempt_at`."""

    attempt: int
    failure: SmtpFailure
    next_attempt_at: datetime


class EmailFailed(_OfEmail):
    """The mail will not be sent: refused for good, or every retry used up."""

    attempt: int
    cause: str
    failure: SmtpFailure | None = None


class EmailSkipped(_OfEmail):
    """The mail was not sent on purpose (suppressed, unsubscribed, inactive, already sent)."""

    reason: str


class EmailOutcomeUnknown(_OfEmail):
    """The answer to DATA was never learned: the mail may or may not have been accepted."""

    attempt: int
    policy: str
    detail: str = ""


class _FromReport(_OfEmail):
    """What came back about an accepted mail. `again`: an earlier report of the mail was of this type already.

    `report_id` names the report, `source` says by which door it came in (smtp, lmtp, file, imap, or a provider).
    """

    report_id: str = ""
    source: str = ""
    again: bool = False


class EmailBounced(_FromReport):
    """A report came back after acceptance. `bounce_class`: hard, soft or block."""

    bounce_class: str
    code: int | None = None
    enhanced: str | None = None
    detail: str = ""


class EmailComplained(_FromReport):
    """The recipient reported the mail as abuse (RFC 5965)."""

    feedback_type: str


class SubscriberAdded(EventData):
    """A subscriber was added."""

    subscriber: Subscriber


class SubscriberChanged(EventData):
    """A subscriber was changed; the event holds the whole new state."""

    subscriber: Subscriber


class SubscriberRemoved(EventData):
    """A subscriber was removed."""

    subscriber_id: str


class RecipientSuppressed(EventData):
    """An address gets no mail from now on."""

    suppression: Suppression


class RecipientReleased(EventData):
    """A suppression was lifted."""

    address: str
    by: str = ""


class RecipientUnsubscribed(EventData):
    """A recipient asked for no more mail, or for none until a time; the suppression has an event of its own.

    `via` is the way: `one-click` (RFC 8058), `page`, or the provider that told it.
    """

    address: str
    subscriber_id: str | None = None
    until: datetime | None = None
    via: str = "page"


class EntryDeadLettered(EventData):
    """An entry was given up by a group. `fields` holds the original entry, byte for byte in base64 if not UTF-8."""

    stream: str
    entry_id: str
    group: str
    cause: str
    detail: str = ""
    deliveries: int = 1
    email_id: str | None = None
    subscriber_id: str | None = None
    fields: dict[str, str]
    encoding: str = "utf-8"


class _OfLetter(EventData):
    """What is kept of a dead letter once it is closed. `dead_entry` is empty when none was open."""

    dead_entry: str = ""
    group: str
    cause: str
    email_id: str | None = None
    subscriber_id: str | None = None
    by: str
    reason: str = ""


class DeadLetterRedriven(_OfLetter):
    """A person had a given-up entry done again. `attempts` were made at its mail until then."""

    attempts: int = 0


class DeadLetterDropped(_OfLetter):
    """A person decided that nothing more is to be done about a given-up entry."""


class MailSettled(_OfEmail):
    """A person found out what became of a held mail: it was `sent` after all, or it was not."""

    sent: bool
    attempt: int
    by: str
    reason: str = ""


class _ByOperator(EventData):
    """What a person did to a stream or group: who (user@host), and why. Entry ids are `ms-sequence`."""

    stream: str
    by: str
    reason: str = ""


class GroupMoved(_ByOperator):
    """A group was set to another position: the first entry after `after` is delivered to it next."""

    group: str
    before: str
    after: str
    forced: bool = False


class GroupRemoved(_ByOperator):
    """A group that nobody serves was removed from a stream: what it had not read, it will never read."""

    group: str


class EntriesClaimed(_ByOperator):
    """Orphans were taken from dead consumers, to be delivered again at once. `entries` names up to 100 of them."""

    group: str
    count: int
    owners: tuple[str, ...]
    entries: tuple[str, ...]


class StreamTrimmed(_ByOperator):
    """Entries older than `before` were deleted."""

    before: str
    count: int


class CommandFinished(_ByOperator):
    """A command over many things ended: `action` on what was `chosen`. Each change has its own event elsewhere."""

    action: str
    chosen: str
    done: int
    refused: int = 0
