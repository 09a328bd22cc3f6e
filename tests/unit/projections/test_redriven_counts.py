"""What a person does to a mail counts once: redriven mails are not requested twice, settled ones count as found."""

from __future__ import annotations

from datetime import UTC, datetime

from leadstream_events.envelope import Event, make_event
from leadstream_events.schemas.events import DeadLetterRedriven, EmailRequested, EventData, Kind, MailSettled
from leadstream_projections.counters import Place, leads, series, subscribers, totals

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
PLACE = Place("outcomes", "1-1")
MAIL = {"email_id": "m", "kind": Kind.NOTIFICATION, "subscriber_id": "s"}


def event(data: EventData) -> Event:
    return make_event(data, subject="lead", now=AT)


def fields(found: tuple[tuple[object, ...], ...]) -> set[object]:
    return {item[1] for item in found}


def test_a_redriven_mail_is_not_counted_as_requested_again_but_is_in_the_timeline() -> None:
    again = event(EmailRequested(**MAIL, to="s@example.com", lead_entry="1-1", redrives=1))
    assert totals(again, PLACE) == subscribers(again, PLACE) == series(again, PLACE) == ()
    assert fields(leads(again, PLACE)) == {f"@{again.id}"}


def test_a_mail_settled_as_sent_counts_as_sent_everywhere_and_as_no_attempt() -> None:
    settled = event(MailSettled(**MAIL, sent=True, attempt=1, by="me"))
    assert fields(totals(settled, PLACE)) == {"sent", "sent:notification"}
    assert fields(subscribers(settled, PLACE)) == {"s:sent", "s:last_sent"}
    assert fields(leads(settled, PLACE)) == {"sent", f"@{settled.id}"}
    assert "03:04 sent" in fields(series(settled, PLACE))


def test_a_mail_settled_as_not_sent_counts_as_failed() -> None:
    settled = event(MailSettled(**MAIL, sent=False, attempt=1, by="me"))
    assert fields(totals(settled, PLACE)) == {"failed", "failed:notification", "failed:settled"}
    assert fields(subscribers(settled, PLACE)) == {"s:failed"}


def test_redriving_itself_counts_nothing_and_shows_in_the_timeline() -> None:
    told = event(DeadLetterRedriven(group="mailer", cause="smtp_550", by="me"))
    assert totals(told, PLACE) == ()
    assert fields(leads(told, PLACE)) == {f"@{told.id}"}
