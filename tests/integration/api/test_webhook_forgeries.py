"""Nobody but the provider gets anything done, nothing is fetched from anywhere else, and no body is a fault of ours."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from leadstream_api.app import create_app
from leadstream_api.webhooks.ses import is_of_sns
from leadstream_events import keys
from leadstream_events.errors import ConfigurationError
from leadstream_events.redis_client import Client
from leadstream_events.settings import Settings, load_settings
from leadstream_events.subscribers import SubscriberStore, utc_now
from tests.integration.api.conftest import api_client
from tests.integration.api.test_webhooks import mailgun as mailgun_event
from tests.integration.api.test_webhooks import postmark, sendgrid, ses
from tests.integration.api.webhook_rig import (
    CERTIFICATE,
    CONFIRM,
    TOPIC,
    Providers,
    SendGrid,
    client,
    mailgun,
    providers,
    there,
)
from tests.support.ports import free_port
from tests.support.sent_mail import sent_mail

__all__ = ["client", "there"]

PATHS = ["/webhooks/ses", "/webhooks/sendgrid", "/webhooks/mailgun", "/webhooks/postmark"]


async def nothing_happened(client: Client) -> bool:
    return await client.xlen(keys.stream(0, keys.OUTCOMES)) <= 1 and not await SubscriberStore(client).suppressions()


@pytest.mark.parametrize("path", PATHS)
async def test_a_webhook_that_is_not_set_up_is_not_there(settings: Settings, path: str) -> None:
    async with api_client(settings) as api:
        answer = await api.post(path, json={})
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is no such resource")


BODIES: list[bytes] = [
    b"", b"null", b"[]", b"{}", b"7", b'"x"', b"{", b"\xff\xfe", b"[" * 50_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"Type":"Notification"}', b'{"Type":["Notification"],"Message":{}}', b'[{"event":"bounce"}]',
    b'{"signature":[],"event-data":{"id":"1"}}', b'{"signature":{"timestamp":"1","token":{},"signature":"x"}}',
    b'{"signature":{"timestamp":"99999999999","token":"t","signature":"x"},"event-data":{"id":"1"}}',
    b'{"signature":{"timestamp":"\\u0661","token":"t","signature":"\\ud800"},"event-data":{"id":"1"}}',
    b'{"Type":"Notification","Message":"x","MessageId":"1","Timestamp":"never","TopicArn":"t","Signature":"",'
    b'"SignatureVersion":"1","SigningCertURL":"https://sns.eu-west-1.amazonaws.com/a.pem"}',
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_of_a_stranger_is_refused_and_is_no_fault_of_ours(
    there: Providers, client: Client, path: str
) -> None:
    for body in BODIES:
        for more in ({}, {"Authorization": "Basic !!!"}, {"Authorization": "Bearer"}):
            answer = await there.api.post(path, content=body, headers={"Content-Type": "application/json", **more})
            assert answer.status_code in (400, 401, 403), (body[:40], answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
    assert there.sns.fetched == []
    assert await nothing_happened(client)


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_without_end_is_not_read(there: Providers, path: str) -> None:
    auth = ("x", "a password of Postmark's")
    answer = await there.api.post(path, content=b"[" * (2 * 1024 * 1024 + 1), auth=auth)
    assert answer.status_code == 413


async def test_whoever_keeps_failing_has_to_wait(there: Providers) -> None:
    found = [(await there.mark({}, password="guess")).status_code for _ in range(65)]
    assert found == [401] * 60 + [429] * 5
    assert (await there.mark({})).status_code == 200, "the provider itself does not wait"


SNS_FORGERIES: list[dict[str, str]] = [
    {"TopicArn": "arn:aws:sns:eu-west-1:123456789012:another"},
    {"SigningCertURL": "https://evil.example/SimpleNotificationService-0.pem"},
    {"SigningCertURL": "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem"},
    {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem"},
    {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com@evil.example/a.pem"},
    {"SigningCertURL": "https://evil.example/sns.eu-west-1.amazonaws.com/a.pem"},
    {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com:8443/a.pem"},
    {"SigningCertURL": "https://bucket.s3.amazonaws.com/a.pem"},
]


@pytest.mark.parametrize("more", SNS_FORGERIES, ids=lambda more: next(iter(more.values()))[-40:])
async def test_nothing_is_fetched_for_a_topic_or_from_a_host_that_is_not_sns(
    there: Providers, client: Client, more: dict[str, str]
) -> None:
    """The forger's own key signed it, and his certificate would say so."""
    mail = await sent_mail(client)
    answer = await there.ses(ses(mail, commonHeaders={"messageId": mail.message_id}), **more)
    assert (answer.status_code, there.sns.fetched) == (403, [])
    assert await nothing_happened(client)


async def test_what_was_changed_after_it_was_signed_is_refused(there: Providers, client: Client) -> None:
    mail = await sent_mail(client)
    good = there.sns.message(ses(mail, commonHeaders={"messageId": mail.message_id}))
    wrongs: list[dict[str, str]] = [
        {"Message": good["Message"].replace("Permanent", "Transient")},
        {"MessageId": "another"},
        {"Subject": "added"},
        {"Timestamp": utc_now().isoformat()},
        {"SignatureVersion": "2"},
        {"SignatureVersion": "3"},
        {"Signature": ""},
        {"Signature": "not base64"},
        {"Signature": base64.b64encode(b"x" * 256).decode()},
    ]
    for wrong in wrongs:
        assert (await there.post_sns(good | wrong)).status_code == 403, wrong
    assert await nothing_happened(client)
    assert (await there.post_sns(good)).json()["results"] == {"new": 1}


@pytest.mark.parametrize("hours", [-25, 1])
async def test_a_signature_of_another_day_is_refused(there: Providers, client: Client, hours: int) -> None:
    mail, at = await sent_mail(client), utc_now() + timedelta(hours=hours)
    answers = [
        await there.ses(ses(mail, commonHeaders={"messageId": mail.message_id}), Timestamp=at.isoformat()),
        await there.send([sendgrid(mail)], at),
        await there.gun(mailgun_event(mail), at=at),
    ]
    assert [answer.status_code for answer in answers] == [400] * 3
    assert await nothing_happened(client)


async def test_a_certificate_that_is_none_or_has_run_out_proves_nothing(there: Providers, client: Client) -> None:
    mail = await sent_mail(client)
    event = ses(mail, commonHeaders={"messageId": mail.message_id})
    for number, wrong in enumerate((b"", b"<html>", there.sns.expired())):
        there.sns.answer = wrong
        url = CERTIFICATE.replace("0123", f"{number:04d}")
        assert (await there.ses(event, SigningCertURL=url)).status_code == 403
    assert await nothing_happened(client)


async def test_sns_that_does_not_answer_is_asked_again_later(there: Providers, client: Client) -> None:
    mail = await sent_mail(client)
    event = ses(mail, commonHeaders={"messageId": mail.message_id})
    there.sns.down = True
    answer = await there.ses(event)
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    there.sns.down = False
    assert (await there.ses(event)).json()["results"] == {"new": 1}


async def test_a_subscription_is_confirmed_for_our_topic_only(there: Providers) -> None:
    text = "You have chosen to subscribe"
    answer = await there.post_sns(there.sns.message(text, kind="SubscriptionConfirmation"))
    assert answer.status_code == 200
    assert there.sns.fetched == [CERTIFICATE, CONFIRM]
    for more in (
        {"TopicArn": TOPIC + "2"},
        {"SubscribeURL": "https://evil.example/?Action=ConfirmSubscription"},
        {"SubscribeURL": CONFIRM.replace("Action=ConfirmSubscription", "Action=DeleteTopic")},
    ):
        refused = await there.post_sns(there.sns.message(text, kind="SubscriptionConfirmation", **more))
        assert refused.status_code == 403, more
    assert there.sns.fetched == [CERTIFICATE, CONFIRM]


async def test_many_addresses_of_certificates_are_not_all_fetched(there: Providers) -> None:
    for number in range(15):
        await there.ses("x", SigningCertURL=CERTIFICATE.replace("0123", f"{number:04d}"))
    assert len(there.sns.fetched) == 10


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (CERTIFICATE, True),
        ("https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0.pem", True),
        ("https://sns.us-gov-west-1.amazonaws.com/SimpleNotificationService-0.pem", True),
        (CERTIFICATE + "?x=1", False),
        (CERTIFICATE + "#x", False),
        (CERTIFICATE.replace("/Simple", "/../Simple"), False),
        (CERTIFICATE.replace("https", "ftp"), False),
        (CERTIFICATE.replace("sns.", "sqs."), False),
        (CERTIFICATE.replace("sns.", "x.sns."), False),
        ("https://sns.eu-west-1.amazonaws.com\\@evil.example/a.pem", False),
        ("https://sns.eu-west-1.amazonaws.com\n.evil.example/a.pem", False),
        ("https://[::1]/a.pem", False),
        ("https://[/a.pem", False),
        ("", False),
    ],
)
def test_which_addresses_are_certificates_of_sns(url: str, expected: bool) -> None:
    assert is_of_sns(url, certificate=True) is expected


async def test_sendgrid_s_signature_covers_time_and_body(there: Providers, client: Client) -> None:
    mail = await sent_mail(client)
    body = json.dumps([sendgrid(mail)]).encode()
    good = there.sendgrid.headers(body)
    foreign = SendGrid(ec.generate_private_key(ec.SECP256R1())).headers(body)
    stamp = "X-Twilio-Email-Event-Webhook-Timestamp"
    later = good | {stamp: str(int(good[stamp]) + 1)}

    async def post(body: bytes, headers: dict[str, str]) -> int:
        return (await there.api.post("/webhooks/sendgrid", content=body, headers=headers)).status_code

    wrongs: list[tuple[bytes, dict[str, str]]] = [
        (body, foreign), (body, later), (body + b" ", good), (body.replace(b"5.1.1", b"4.1.1"), good), (body, {}),
        (body, good | {"X-Twilio-Email-Event-Webhook-Signature": "x"}), (body, good | {stamp: "9" * 12}),
    ]  # fmt: skip
    assert [await post(*wrong) for wrong in wrongs] == [403] * len(wrongs)
    assert await nothing_happened(client)
    assert await post(body, good) == 200


async def test_a_signature_of_mailgun_is_good_for_one_body(there: Providers, client: Client) -> None:
    """It does not cover the event: whoever saw one could report anything with it."""
    mail, victim = await sent_mail(client), await sent_mail(client, "victim@example.com")
    seen = mailgun(mailgun_event(mail))
    for expected in ({"new": 1}, {"repeated": 1}):  # Mailgun itself sends the same again
        assert (await there.api.post("/webhooks/mailgun", json=seen)).json()["results"] == expected
    forged = seen | {"event-data": mailgun_event(victim, event_id="g-2")}
    assert (await there.api.post("/webhooks/mailgun", json=forged)).status_code == 406
    assert [each.address for each in await SubscriberStore(client).suppressions()] == [mail.address]
    for field, value in (("signature", "0" * 64), ("token", "u" * 50), ("timestamp", "1")):
        wrong = seen | {"signature": seen["signature"] | {field: value}}
        assert (await there.api.post("/webhooks/mailgun", json=wrong)).status_code == 403


async def test_postmark_has_a_password(there: Providers, client: Client) -> None:
    mail = await sent_mail(client)
    answer = await there.mark(postmark(mail), password="a password")
    assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic")
    assert (await there.api.post("/webhooks/postmark", json=postmark(mail))).status_code == 401
    bearer = {"Authorization": "Bearer a password of Postmark's"}
    assert (await there.api.post("/webhooks/postmark", json={}, headers=bearer)).status_code == 200
    assert await nothing_happened(client)


@pytest.mark.parametrize("own_secret", [True, False])
async def test_without_redis_nobody_hears_that_it_is_recorded(
    settings: Settings, tmp_path: Any, own_secret: bool
) -> None:
    path = tmp_path / "signing.secrets"
    path.write_bytes(b"a secret of sixteen or more")
    away = {"redis_url": f"redis://127.0.0.1:{free_port()}/0", "signing_secret_file": path if own_secret else None}
    async with providers(settings.model_copy(update=away)) as there:
        event = {"email": "a@example.com", "event": "bounce", "sg_event_id": "1", "smtp-id": "<x@example.com>"}
        ours = event | {"smtp-id": "<0190b5a0-0000-7000-8000-000000000000@example.com>"}
        answers: list[httpx.Response] = [await there.send([ours]), await there.gun({"id": "1", "event": "failed"})]
        for answer in answers:
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook_ses_topics", "bounces"),
        ("webhook_sendgrid_key", "no key"),
        ("webhook_postmark_token", "short"),
        ("webhook_mailgun_key", " "),
        ("webhook_mailgun_key_file", "/nowhere"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"LEADSTREAM_{name.upper()}"):
        create_app(load_settings(**{name: value}))
