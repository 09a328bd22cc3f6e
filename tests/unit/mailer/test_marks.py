"""What every mail carries for its one recipient, and how it comes back."""

from __future__ import annotations

import re

from leadstream_events.ids import email_id, new_id
from leadstream_events.schemas.events import Kind
from leadstream_events.settings import load_settings
from leadstream_mail import unsubscribe
from leadstream_mail.mail_token import HEADER, read_mail_token
from leadstream_mail.marks import Mark, Marks
from tests.unit.mailer.mails import parsed, raw

SECRETS = (b"a secret of sixteen or more",)
LEAD, SUBSCRIBER = new_id(), new_id()
EMAIL = email_id(LEAD, Kind.NOTIFICATION, SUBSCRIBER)
FEEDBACK = "Feedback-ID"
LISTS = ("List-Unsubscribe", "List-Unsubscribe-Post")
PROVIDERS = {
    "webhook_ses_topics": "arn:aws:sns:eu-west-1:123456789012:bounces",
    "webhook_sendgrid_key": "a key",
    "webhook_mailgun_key": "a key",
    "webhook_postmark_token": "a token",
}


def test_a_notification_says_which_mail_it_is_and_how_to_end_them() -> None:
    mark = Marks(load_settings(public_url="https://leads.example.com"), SECRETS).of(LEAD, EMAIL, SUBSCRIBER)
    assert set(mark.headers) == {HEADER, FEEDBACK, *LISTS}
    assert re.fullmatch(r"notification:[0-9a-f]{10}::leadstream", mark.headers[FEEDBACK])
    assert read_mail_token(SECRETS, mark.headers[HEADER]) == (LEAD, EMAIL)
    assert unsubscribe.read(SECRETS, mark.unsubscribe) == SUBSCRIBER
    assert mark.headers["List-Unsubscribe"] == f"<https://leads.example.com/unsubscribe/{mark.unsubscribe}>"


def test_a_welcome_mail_cannot_be_unsubscribed_from() -> None:
    headers = Marks(load_settings(feedback_id="example-leads"), SECRETS).of(LEAD, EMAIL, None).headers
    assert set(headers) == {HEADER, FEEDBACK}
    assert headers[FEEDBACK] == "welcome:::example-leads"


def test_every_provider_that_is_set_up_gets_our_name_of_the_mail_in_its_own_header() -> None:
    mark = Marks(load_settings(**PROVIDERS), SECRETS).of(LEAD, EMAIL, SUBSCRIBER)
    token = mark.headers[HEADER]
    found = {name: value for name, value in mark.headers.items() if name not in (HEADER, FEEDBACK, *LISTS)}
    assert found == {
        "X-SES-MESSAGE-TAGS": f"leadstream-mail={token}",
        "X-SMTPAPI": f'{{"unique_args":{{"leadstream-mail":"{token}"}}}}',
        "X-Mailgun-Variables": f'{{"leadstream-mail":"{token}"}}',
        "X-PM-Metadata-leadstream-mail": token,
    }
    assert len(token) <= 80, "Postmark cuts off more"
    message = parsed(raw(extra=dict(mark.headers)).data)
    assert all(message[name] == value for name, value in mark.headers.items())


def test_ids_of_elsewhere_have_no_mail_token_and_still_a_link() -> None:
    mark = Marks(load_settings(**PROVIDERS), SECRETS).of("lead 1", "mail 1", "subscriber 1")
    assert set(mark.headers) == {FEEDBACK, *LISTS}
    assert unsubscribe.read(SECRETS, mark.unsubscribe) == "subscriber 1"


def test_without_secrets_mails_go_out_unmarked() -> None:
    assert Marks(load_settings(**PROVIDERS), ()).of(LEAD, EMAIL, SUBSCRIBER) == Mark({})
