"""What providers report about our mails is recorded before they hear 200, once, and its address is suppressed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from leadstream_events import keys
from leadstream_events.ids import new_id
from leadstream_events.log import read_entry
from leadstream_events.redis_client import Client
from leadstream_events.schemas.events import EmailBounced, EmailComplained
from leadstream_events.settings import Settings
from leadstream_events.signing import signing_secrets
from leadstream_events.subscribers import SubscriberStore, utc_now
from leadstream_events.unsubscribe_rules import Wish
from leadstream_events.unsubscribing import ask
from leadstream_mail.mail_token import mail_token
from leadstream_mail.provider_headers import provider_headers
from tests.integration.api.webhook_rig import Providers, client, providers, there
from tests.support.sent_mail import SentMail, sent_mail, sent_welcome

__all__ = ["client", "there"]

Event = dict[str, Any]


async def token(client: Client, there: Providers, mail: SentMail) -> str:
    return mail_token(await signing_secrets(client, there.settings), mail.lead_id, mail.email_id) or ""


async def reported(client: Client) -> list[EmailBounced | EmailComplained]:
    stream = keys.stream(0, keys.OUTCOMES)
    events = [read_entry(stream, *entry).event for entry in await client.xrange(stream)]
    return [each.data for each in events if each and isinstance(each.data, EmailBounced | EmailComplained)]


async def reasons(client: Client) -> dict[str, str]:
    return {each.address: each.reason for each in await SubscriberStore(client).suppressions()}


def ses(mail: SentMail, sub: str = "General", kind: str = "Permanent", feedback: str = "f-1", **more: Any) -> Event:
    recipient = {"emailAddress": mail.address, "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 no such user"}
    return {
        "notificationType": "Bounce",
        "bounce": {
            "bounceType": kind,
            "bounceSubType": sub,
            "feedbackId": feedback,
            "bouncedRecipients": [recipient],
        },
        "mail": {"messageId": "ses-1", "destination": [mail.address], **more},
    }


def ses_headers(**headers: str) -> Event:
    return {"headersTruncated": False, "headers": [{"name": name, "value": value} for name, value in headers.items()]}


async def test_a_bounce_by_ses_is_recorded_and_suppresses(there: Providers, client: Client) -> None:
    mail = await sent_mail(client)
    headers = ses_headers(**{"x-leadstream-mail": await token(client, there, mail)})
    for version in ("1", "2"):  # told twice: one report
        answer = await there.ses(ses(mail, **headers), version)
        assert answer.status_code == 200, answer.text
    assert answer.json() == {"events": 1, "results": {"repeated": 1}}
    (bounce,) = await reported(client)
    assert isinstance(bounce, EmailBounced)
    assert (bounce.bounce_class, bounce.code, bounce.enhanced, bounce.source) == ("hard", 550, "5.1.1", "ses")
    assert await reasons(client) == {mail.address: "hard bounce 5.1.1"}
    assert len(set(there.sns.fetched)) == len(there.sns.fetched) == 1


@pytest.mark.parametrize("way", ["tags", "headers", "message id"])
async def test_a_mail_is_found_by_whatever_ses_gives_back(there: Providers, client: Client, way: str) -> None:
    await sent_mail(client, "other@example.com")
    mail = await sent_mail(client)
    more = {
        "tags": {"tags": {"leadstream-mail": [await token(client, there, mail)]}},
        "headers": ses_headers(**{"X-Leadstream-Lead": mail.lead_id, "Message-ID": mail.message_id}),
        "message id": {"commonHeaders": {"messageId": mail.message_id}},
    }[way]
    assert (await there.ses(ses(mail, **more))).json()["results"] == {"new": 1}


def sendgrid(mail: SentMail, event: str = "bounce", event_id: str = "e-1", **more: Any) -> Event:
    base = {"email": mail.address, "event": event, "sg_event_id": event_id, "timestamp": 1, "smtp-id": mail.message_id}
    if event == "bounce":
        base |= {"type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 no such user"}
    return base | more


def mailgun(mail: SentMail, kind: str = "failed", event_id: str = "g-1", **more: Any) -> Event:
    return {
        "id": event_id,
        "event": kind,
        "severity": "permanent",
        "reason": "bounce",
        "recipient": mail.address,
        "delivery-status": {"code": 550, "enhanced-code": "5.1.1", "message": "no such user"},
        "message": {"headers": {"message-id": mail.message_id.strip("<>")}},
        **more,
    }


def postmark(mail: SentMail, kind: str = "HardBounce", number: int = 42, **more: Any) -> Event:
    record = "SpamComplaint" if kind == "SpamComplaint" else "Bounce"
    details = "smtp;550 5.1.1 no such user"
    return {"RecordType": record, "ID": number, "Type": kind, "Email": mail.address, "Details": details, **more}


async def test_every_other_provider_ends_at_the_same_place(there: Providers, client: Client) -> None:
    mails = [await sent_mail(client, f"s{number}@example.com") for number in range(3)]
    named = {"leadstream-mail": await token(client, there, mails[2])}
    answers = [
        await there.send([sendgrid(mails[0])]),
        await there.gun(mailgun(mails[1])),
        await there.mark(postmark(mails[2], Metadata=named)),
    ]
    assert [answer.json() for answer in answers] == [{"events": 1, "results": {"new": 1}}] * 3
    found = [each for each in await reported(client) if isinstance(each, EmailBounced)]
    assert [(each.source, each.bounce_class, each.code, each.enhanced) for each in found] == [
        (source, "hard", 550, "5.1.1") for source in ("sendgrid", "mailgun", "postmark")
    ]
    assert await reasons(client) == {mail.address: "hard bounce 5.1.1" for mail in mails}


async def test_headers_of_ours_come_back_as_each_provider_gives_them(there: Providers, client: Client) -> None:
    """A mail without a Message-ID of ours in the report is found by what `provider_headers` put into it."""
    mail = await sent_mail(client)
    headers = provider_headers(there.settings, await token(client, there, mail))
    arguments = json.loads(headers["X-SMTPAPI"])["unique_args"]
    variables = json.loads(headers["X-Mailgun-Variables"])
    tag, _, value = headers["X-SES-MESSAGE-TAGS"].partition("=")
    metadata = {name.removeprefix("X-PM-Metadata-"): text for name, text in headers.items() if "PM" in name}
    answers = [
        await there.send([sendgrid(mail, **{"smtp-id": "<x@ismtpd>"}, **arguments)]),
        await there.gun(mailgun(mail, message={}, **{"user-variables": variables})),
        await there.ses(ses(mail, tags={tag: [value]})),
        await there.mark(postmark(mail, Metadata=metadata)),
    ]
    assert [answer.json()["results"] for answer in answers] == [{"new": 1}] * 4


@pytest.mark.parametrize(
    ("provider", "make", "expected"),
    [
        ("ses", lambda m: ses(m, "MailboxFull", "Transient"), "soft"),
        ("ses", lambda m: ses(m, "ContentRejected", "Transient"), "block"),
        ("ses", lambda m: ses(m, "Undetermined", "Undetermined"), "soft"),
        ("ses", lambda m: ses(m, "OnAccountSuppressionList"), "hard"),
        ("sendgrid", lambda m: sendgrid(m, type="blocked"), "block"),
        ("sendgrid", lambda m: sendgrid(m, bounce_classification="Reputation"), "block"),
        ("sendgrid", lambda m: sendgrid(m, bounce_classification="Mailbox Unavailable"), "soft"),
        ("sendgrid", lambda m: sendgrid(m, "dropped", reason="Bounced Address"), "hard"),
        ("sendgrid", lambda m: sendgrid(m, "dropped", reason="Unsubscribed Address"), None),
        ("sendgrid", lambda m: sendgrid(m, "deferred"), None),
        ("sendgrid", lambda m: sendgrid(m, "delivered"), None),
        ("sendgrid", lambda m: sendgrid(m, "spamreport"), "complaint"),
        ("mailgun", lambda m: mailgun(m, severity="temporary"), None),
        ("mailgun", lambda m: mailgun(m, reason="espblock"), "block"),
        ("mailgun", lambda m: mailgun(m, reason="old"), "soft"),
        ("mailgun", lambda m: mailgun(m, reason="suppress-complaint"), "complaint"),
        ("mailgun", lambda m: mailgun(m, "complained"), "complaint"),
        ("mailgun", lambda m: mailgun(m, "delivered"), None),
        ("postmark", lambda m: postmark(m, "SoftBounce"), "soft"),
        ("postmark", lambda m: postmark(m, "SpamNotification"), "block"),
        ("postmark", lambda m: postmark(m, "SpamComplaint"), "complaint"),
        ("postmark", lambda m: postmark(m, "AutoResponder"), None),
    ],
)
async def test_each_provider_s_words_have_a_class(
    there: Providers, client: Client, provider: str, make: Callable[[SentMail], Event], expected: str | None
) -> None:
    mail = await sent_mail(client)
    await sent_by(there, provider, named(make(mail), provider, await token(client, there, mail)))
    found = await reported(client)
    classes = [each.bounce_class if isinstance(each, EmailBounced) else "complaint" for each in found]
    assert classes == ([expected] if expected else [])
    assert bool(await reasons(client)) is (expected in ("hard", "complaint"))


def named(event: Event, provider: str, name: str) -> Event:
    """The event with our token where this provider puts it."""
    match provider:
        case "ses":
            return event | {"mail": event["mail"] | {"tags": {"leadstream-mail": [name]}}}
        case "sendgrid":
            return event | {"leadstream-mail": name}
        case "mailgun":
            return event | {"user-variables": {"leadstream-mail": name}}
    return event | {"Metadata": {"leadstream-mail": name}}


async def sent_by(there: Providers, provider: str, event: Event) -> Event:
    match provider:
        case "ses":
            answer = await there.ses(event)
        case "sendgrid":
            answer = await there.send([event])
        case "mailgun":
            answer = await there.gun(event, token=new_id())
        case _:
            answer = await there.mark(event)
    assert answer.status_code == 200, answer.text
    found: Event = answer.json()
    return found


def wishes(mail: SentMail) -> dict[str, Event]:
    preferences = {"unsubscribeAll": True, "topicSubscriptionStatus": []}
    change = {"RecordType": "SubscriptionChange", "Recipient": mail.address, "SuppressSending": True}
    return {
        "ses": {
            "eventType": "Subscription",
            "mail": {"destination": [mail.address]},
            "subscription": {"contactList": "c", "newTopicPreferences": preferences},
        },
        "sendgrid": sendgrid(mail, "group_unsubscribe"),
        "mailgun": mailgun(mail, "unsubscribed"),
        "postmark": change | {"SuppressionReason": "ManualSuppression", "Origin": "Recipient", "ChangedAt": "2026"},
    }


@pytest.mark.parametrize("provider", ["ses", "sendgrid", "mailgun", "postmark"])
async def test_whoever_unsubscribes_at_the_provider_is_unsubscribed_here_and_once(
    there: Providers, client: Client, provider: str
) -> None:
    mail = await sent_mail(client)
    event = named(wishes(mail)[provider], provider, await token(client, there, mail))
    assert (await sent_by(there, provider, event))["results"] == {"unsubscribed": 1}
    assert await reasons(client) == {mail.address: "unsubscribed"}
    subscriber = await SubscriberStore(client).by_address(mail.address)
    assert subscriber is not None
    await ask(client, subscriber, Wish.RESUME, "page", utc_now())
    await sent_by(there, provider, event)
    assert await reasons(client) == {}, "the same event again must not undo that he came back"


async def test_a_wish_about_somebody_else_s_mail_changes_nothing(there: Providers, client: Client) -> None:
    victim, mine, welcome = (
        await sent_mail(client, "v@example.com"),
        await sent_mail(client),
        await sent_welcome(client),
    )
    foreign = sendgrid(victim, "unsubscribe", "e-3", **{"smtp-id": "<newsletter@other.example>"})
    crossed = sendgrid(victim, "unsubscribe", "e-1", **{"smtp-id": mine.message_id})
    visitor = sendgrid(welcome, "unsubscribe", "e-2")
    assert (await there.send([foreign, crossed, visitor])).json()["results"] == {"foreign": 1, "not_subscribed": 2}
    assert await reasons(client) == {}


async def test_a_batch_with_rubbish_in_it_is_taken_as_far_as_it_makes_sense(there: Providers, client: Client) -> None:
    mails = [await sent_mail(client, f"s{number}@example.com") for number in range(5)]
    good = [sendgrid(mail, event_id=f"e-{number}") for number, mail in enumerate(mails)]
    rubbish: list[Any] = [
        None, 7, "x", [], {}, {"event": "bounce"}, {"event": 7, "sg_event_id": []}, sendgrid(mails[0], event_id=""),
        sendgrid(mails[0], event_id="n", email="nobody@example.net"), sendgrid(mails[0], event_id="m", email="\x00@"),
        {"event": "bounce", "sg_event_id": "q", "email": "a@b.example", "smtp-id": {}, "leadstream-mail": [[]]},
    ]  # fmt: skip
    answer = await there.send([*rubbish, *good, *good])
    assert answer.status_code == 200
    assert answer.json()["results"] == {"foreign": 1, "new": 6, "other_address": 1}
    assert set(await reasons(client)) == {mail.address for mail in mails}
    again = await there.send([*rubbish, *good])
    assert again.json()["results"] == {"foreign": 1, "repeated": 6, "other_address": 1}
    assert len(await reported(client)) == 6


async def test_a_report_of_long_ago_that_is_told_only_now_counts(there: Providers, client: Client) -> None:
    """The signature must be fresh, the event need not: providers hold events back while we are away."""
    mail = await sent_mail(client)
    event = sendgrid(mail, timestamp=int((utc_now() - timedelta(days=3)).timestamp()))
    assert (await there.send([event])).json()["results"] == {"new": 1}


async def test_metrics_count_what_came_of_it(there: Providers, client: Client) -> None:
    mail = await sent_mail(client)
    await there.send([sendgrid(mail)])
    await there.mark({}, password="wrong")
    text = (await there.api.get("/metrics")).text
    assert 'leadstream_api_webhook_events_total{provider="sendgrid",result="new"} 1.0' in text
    assert 'leadstream_api_webhook_events_total{provider="postmark",result="credentials"} 1.0' in text


async def test_mails_of_every_partition_are_found(settings: Settings, client: Client) -> None:
    async with providers(settings, partitions=4) as there:
        mails = [await sent_mail(client, f"s{number}@example.com", partitions=4) for number in range(8)]
        events = [sendgrid(mail, event_id=f"e-{number}") for number, mail in enumerate(mails)]
        name = await token(client, there, mails[0])
        answer = await there.send([events[0] | {"smtp-id": "", "leadstream-mail": name}, *events[1:]])
        assert answer.json()["results"] == {"new": 8}
    assert set(await reasons(client)) == {mail.address for mail in mails}
