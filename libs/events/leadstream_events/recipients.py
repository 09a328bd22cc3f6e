"""Who gets a mail for a lead: pure, given the lead and the subscribers.

An active subscriber whose states match gets one; purchased leads are set aside by `lua/reserve.lua`, which has the
last word. Suppressed addresses are not left out here but when the mail's turn comes: the decision is then fresh, and
it leaves an EmailSkipped behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from leadstream_events.ids import WELCOME_RECIPIENT, email_id
from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.subscriber import Subscriber

NO_LIMIT = -1


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mail that is due by the rules. `purchased` is `NO_LIMIT` or the subscriber's leads in all."""

    email_id: str
    kind: Kind
    to: str
    subscriber_id: str | None = None
    purchased: int = NO_LIMIT


def wants(subscriber: Subscriber, lead: Lead) -> bool:
    """True when the subscriber is active and takes leads from this state; no states means all of them."""
    return subscriber.active and (not subscriber.states or lead.state in subscriber.states)


def candidates(lead_id: str, lead: Lead, subscribers: Iterable[Subscriber], *, welcome: bool) -> list[Candidate]:
    """Returns every mail that this lead asks for, the welcome mail first."""
    found = []
    if welcome:
        found.append(Candidate(email_id(lead_id, Kind.WELCOME, WELCOME_RECIPIENT), Kind.WELCOME, lead.email))
    for subscriber in subscribers:
        if wants(subscriber, lead):
            mail = email_id(lead_id, Kind.NOTIFICATION, subscriber.id)
            purchased = NO_LIMIT if subscriber.leads_purchased is None else subscriber.leads_purchased
            found.append(Candidate(mail, Kind.NOTIFICATION, subscriber.email, subscriber.id, purchased))
    return found
