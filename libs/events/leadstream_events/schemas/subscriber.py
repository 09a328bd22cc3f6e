"""A subscriber: who buys leads, from which states, and how many."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from leadstream_events.address_digest import address_or_digest
from leadstream_events.schemas.lead import Address, Name, State


class MailFormat(StrEnum):
    """How a subscriber's mails are written: HTML and text, text alone, or ADF 1.0 XML for a program that reads them."""

    HTML = "html"
    TEXT = "text"
    ADF = "adf"


def _unique_sorted(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(value)))


States = Annotated[tuple[State, ...], Field(max_length=100), AfterValidator(_unique_sorted)]


class SubscriberDraft(BaseModel):
    """What a person or a CSV line says of a subscriber."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    email: Address
    name: Name
    active: bool = True
    states: States = ()
    leads_purchased: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    format: MailFormat = MailFormat.HTML


class SubscriberPatch(BaseModel):
    """A partial change; fields left out stay as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    email: Address | None = None
    name: Name | None = None
    active: bool | None = None
    states: States | None = None
    leads_purchased: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    format: MailFormat | None = None


class Subscriber(SubscriberDraft):
    """A subscriber as stored in the state hash and in every subscriber event."""

    id: str
    created_at: datetime


class Suppression(BaseModel):
    """An address that gets no mail, for a reason, perhaps until a time. A lead's own one is kept as its digest.

    `replaced` is the reason that a recipient's own wish took the place of: he cannot undo that one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Annotated[str, StringConstraints(max_length=254), AfterValidator(address_or_digest)]
    reason: Annotated[str, Field(min_length=1, max_length=200)] = "manual"
    created_at: datetime
    expires_at: datetime | None = None
    replaced: str | None = None

    def holds(self, now: datetime) -> bool:
        """True while the suppression is in force at `now`."""
        return self.expires_at is None or now < self.expires_at
