"""The deciding code of the fallback: limits, purchased leads, verdicts and what a merge carries over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadstream_api.fallback import verdict
from leadstream_api.fallback.limiter import LocalLimiter, span_of_s
from leadstream_api.fallback.merging import carried, merge_args
from leadstream_api.fallback.rows import SpooledLead, SpooledMail, pack
from leadstream_api.fallback.snapshot import Known, dump_directory, load_directory
from leadstream_api.fallback.spool import Work
from leadstream_events.directory import Snapshot
from leadstream_events.envelope import encode, make_event
from leadstream_events.ledger import State
from leadstream_events.limits import DomainRates, Rate
from leadstream_events.recipients import candidates
from leadstream_events.schemas.events import LeadReceived, SmtpFailure
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.subscriber import Subscriber, Suppression
from leadstream_events.setting_values import OnUnknown
from leadstream_mail.attempt_rules import AttemptRules
from leadstream_mail.smtp.outcome import Accepted, Deferred, Refused, Unknown

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RULES = AttemptRules("leads@example.com", 4, (60.0, 120.0), OnUnknown.RESEND)
DANA = Lead(full_name="Dana", email="dana@example.com")
LATER = SmtpFailure(permanent=False, phase="rcpt", code=451, line="later", cause="deferred")


def subscriber(number: int, purchased: int | None = None) -> Subscriber:
    return Subscriber(
        id=f"s{number}", email=f"s{number}@example.com", name="S", created_at=NOW, leads_purchased=purchased
    )


def spooled() -> SpooledLead:
    event = make_event(LeadReceived(lead=DANA, mode="fallback"), subject="lead-1", now=NOW)
    return SpooledLead(1, "lead-1", "f", "merge-1", encode(event), False, True)


def mail(lead: SpooledLead) -> SpooledMail:
    [candidate] = candidates("lead-1", DANA, [subscriber(1)], welcome=False)
    return verdict.requested(lead, candidate, "S", NOW)


@given(st.lists(st.floats(0.001, 5.0), max_size=200))
def test_in_no_window_do_more_sends_start_than_the_limit(gaps: list[float]) -> None:
    rate = Rate(5, 10_000)
    limiter = LocalLimiter(rate, DomainRates())
    now, starts = 0.0, []
    for gap in gaps:
        now += gap
        if limiter.wait_s("a@example.com", now)[0] == 0:
            limiter.start("a@example.com", now)
            starts.append(now)
    for at in starts:
        assert sum(at <= other < at + rate.period_ms / 1000 for other in starts) <= rate.count


def test_a_full_limit_says_when_to_ask_again_and_which_limit_it_was() -> None:
    rate = Rate(1, 1_000)
    limiter = LocalLimiter(Rate(10, 60_000), DomainRates({"example.org": rate}))
    limiter.start("a@example.org", 100.0)
    wait_s, of_domain = limiter.wait_s("b@example.org", 100.5)
    assert (round(wait_s, 6), of_domain) == (round(span_of_s(rate) - 0.5, 6), True)
    assert limiter.wait_s("b@example.com", 100.5) == (0.0, False)


def test_of_whom_a_send_went_to_only_a_domain_with_a_limit_is_kept() -> None:
    limiter = LocalLimiter(Rate(10, 60_000), DomainRates({"example.org": Rate(1, 1_000)}))
    assert limiter.place_of("dana@Example.ORG") == "@example.org"
    assert limiter.place_of("dana@dana-visitor.example") == "@"
    assert limiter.limits_of("@") == limiter.limits_of("dana@dana-visitor.example")
    assert limiter.limits_of("@example.org") == limiter.limits_of("dana@Example.ORG")


@pytest.mark.parametrize(
    ("left", "recent", "since", "may"), [(1, 0, 0, True), (1, 0, 1, False), (5, 4, 0, True), (5, 3, 2, False)]
)
def test_a_subscriber_with_a_limit_is_served_only_while_every_lead_since_leaves_him_one(
    left: int, recent: int, since: int, may: bool
) -> None:
    known = Known(Snapshot(), {"s1": left}, recent)
    assert known.may_get(subscriber(1, purchased=10), since) is may
    assert known.may_get(subscriber(2), since) is True
    assert known.may_get(subscriber(3, purchased=10), since) is False


def test_a_stored_directory_comes_back_as_it_was() -> None:
    held = Suppression(address="X@example.com", created_at=NOW, expires_at=NOW + timedelta(days=1))
    before = Snapshot({"s1": subscriber(1, 3)}, {"x@example.com": held}, "5-0")
    assert load_directory(dump_directory(before)) == before


def test_an_accepted_mail_is_told_as_sent_and_as_a_copy_should_a_worker_have_sent_it_too() -> None:
    lead = spooled()
    begun = verdict.begun(mail(lead), NOW)
    row, outcomes = verdict.after(lead, begun, Accepted(250, "ok"), RULES, NOW)
    assert (row.state, row.attempts, row.phase) == (State.SENT, 1, "accepted")
    assert [(item.when, item.fields["type"]) for item in outcomes] == [
        ("own", "EmailSent"),
        ("copy", "EmailOutcomeUnknown"),
    ]


def test_retries_follow_the_delays_and_end_in_a_dead_letter() -> None:
    lead, row, states, delays = spooled(), None, [], []
    row = mail(lead)
    for _ in range(RULES.max_attempts):
        row, outcomes = verdict.after(lead, verdict.begun(row, NOW), Deferred(LATER), RULES, NOW)
        states.append(row.state)
        delays.append((row.at_ms - verdict.milliseconds(NOW)) / 1000)
    assert states == [State.DEFERRED, State.DEFERRED, State.DEFERRED, State.FAILED]
    assert delays[:3] == [60.0, 120.0, 120.0]
    assert [item.fields["type"] for item in outcomes] == ["EmailFailed", "EntryDeadLettered"]


def test_a_refused_mail_is_final_at_once() -> None:
    lead = spooled()
    refused = SmtpFailure(permanent=True, phase="rcpt", code=550, line="no", cause="rejected")
    row, _ = verdict.after(lead, verdict.begun(mail(lead), NOW), Refused(refused), RULES, NOW)
    assert row.state is State.FAILED


@pytest.mark.parametrize(("policy", "state"), [(OnUnknown.RESEND, State.UNKNOWN), (OnUnknown.HOLD, State.HELD)])
def test_a_lost_answer_is_tried_once_more_or_held(policy: OnUnknown, state: State) -> None:
    lead = spooled()
    rules = AttemptRules("leads@example.com", 4, (60.0,), policy)
    row, outcomes = verdict.after(lead, verdict.begun(mail(lead), NOW), Unknown(LATER), rules, NOW)
    assert (row.state, row.unknowns, outcomes[0].when) == (state, 1, "mark")
    again, _ = verdict.after(lead, verdict.begun(row, NOW), Unknown(LATER), rules, NOW)
    assert again.state is State.HELD


def test_an_attempt_cut_off_before_its_content_was_no_attempt() -> None:
    lead = spooled()
    begun = verdict.begun(mail(lead), NOW)
    row, outcomes = verdict.recovered(lead, begun, RULES, NOW)
    assert (row.state, row.attempts, outcomes) == (State.REQUESTED, 0, ())


def test_mails_that_were_never_attempted_are_left_to_fan_out() -> None:
    lead = spooled()
    waiting = mail(lead)
    row, outcomes = verdict.after(lead, verdict.begun(waiting, NOW), Accepted(250, "ok"), RULES, NOW)
    assert carried([waiting]) == []
    assert carried([row]) == [row]
    assert waiting.email_id not in merge_args(Work(lead, (waiting,), ()))
    assert merge_args(Work(lead, (row,), outcomes)).count(row.email_id) == 1


def test_what_is_stored_for_the_merge_names_entries_by_tokens_that_nobody_can_guess() -> None:
    lead = spooled()
    assert lead.merge_id in pack(mail(lead).request)
