"""Who gets a mail for a lead, and how it is requested once ever."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from leadstream_events import keys
from leadstream_events.envelope import make_event
from leadstream_events.ids import email_id
from leadstream_events.ledger import State, parse_row
from leadstream_events.recipients import NO_LIMIT, candidates, wants
from leadstream_events.schemas.events import Kind, LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.subscriber import Subscriber
from leadstream_mailer.fanout_rules import request

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LEAD = Lead(full_name="Ada", email="ada@example.com", state="CA")


def subscriber(name: str = "s", **fields: Any) -> Subscriber:
    given = {"id": name, "created_at": NOW, "email": f"{name}@example.com", "name": name} | fields
    return Subscriber.model_validate(given)


def test_an_active_subscriber_of_the_state_wants_the_lead() -> None:
    assert wants(subscriber(), LEAD)
    assert wants(subscriber(states=("NV", "CA")), LEAD)
    assert not wants(subscriber(states=("TX",)), LEAD)
    assert not wants(subscriber(active=False), LEAD)


def test_a_lead_without_a_state_goes_to_those_who_take_every_state() -> None:
    lead = Lead(full_name="Ada", email="ada@example.com")
    assert wants(subscriber(), lead)
    assert not wants(subscriber(states=("CA",)), lead)


def test_the_welcome_mail_comes_first_and_only_when_wanted() -> None:
    both = candidates("lead-1", LEAD, [subscriber("a"), subscriber("b", leads_purchased=3)], welcome=True)
    assert [(mail.kind, mail.to, mail.purchased) for mail in both] == [
        (Kind.WELCOME, "ada@example.com", NO_LIMIT),
        (Kind.NOTIFICATION, "a@example.com", NO_LIMIT),
        (Kind.NOTIFICATION, "b@example.com", 3),
    ]
    assert candidates("lead-1", LEAD, [], welcome=False) == []


def test_a_mail_keeps_its_id_when_the_address_is_corrected() -> None:
    before, after = (
        candidates("lead-1", LEAD, [subscriber("a", email=email)], welcome=False)[0]
        for email in ("old@example.com", "new@example.com")
    )
    assert before.email_id == after.email_id == email_id("lead-1", Kind.NOTIFICATION, "a")


def test_a_request_is_guarded_by_its_ledger_row_and_names_its_cause() -> None:
    (mail,) = candidates("lead-1", LEAD, [subscriber("a")], welcome=False)
    lead = make_event(LeadReceived(lead=LEAD), subject="lead-1", now=NOW, trace="00-a-b-01")
    guard, stored = request(mail, lead, "5-1", 3, NOW, reserved=True)
    assert (guard.command, guard.key, guard.args[0], guard.args[2]) == (
        "ONCE",
        keys.ledger(3, "lead-1"),
        mail.email_id,
        1,
    )
    assert parse_row(str(guard.args[1])).state is State.REQUESTED
    assert (stored.command, stored.key) == ("XADD", keys.stream(3, keys.EMAILS))
    fields = dict(zip(stored.args[1::2], stored.args[2::2], strict=True))
    assert (fields["type"], fields["subject"], fields["cause"]) == ("EmailRequested", "lead-1", lead.id)
    assert fields["trace"] == "00-a-b-01"
    assert '"lead_entry":"5-1"' in str(fields["data"])


def test_a_purchased_lead_that_is_not_set_aside_yet_is_together_with_the_request() -> None:
    welcome, mail = candidates("lead-1", LEAD, [subscriber("a")], welcome=True)
    lead = make_event(LeadReceived(lead=LEAD), subject="lead-1", now=NOW)
    guard, _, kept = request(mail, lead, "5-1", 3, NOW, reserved=False)
    assert guard.args[2] == 2  # both, or neither
    assert (kept.command, kept.key, kept.args) == ("SADD", keys.reserved("a"), (mail.email_id,))
    assert len(request(welcome, lead, "5-1", 3, NOW, reserved=False)) == 2  # the visitor buys nothing
