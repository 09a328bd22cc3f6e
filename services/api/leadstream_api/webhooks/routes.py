"""`/webhooks/...`: reports of mail providers, answered with 200 once everything in them is recorded.

Anybody can post here, so nothing is looked at before the provider has proved that it is he: nothing is fetched for a
topic that is not ours, and whoever keeps failing has to wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import NoReturn, cast

from litestar.handlers import HTTPRouteHandler

from leadstream_api import limits
from leadstream_api.access import open_to_all
from leadstream_api.access.guards import require_rate
from leadstream_api.access.state import access_of
from leadstream_api.access.throttle import address_of
from leadstream_api.answers import json_answer
from leadstream_api.bodies import read_body
from leadstream_api.context import redis_errors, services_of
from leadstream_api.problems import Problem
from leadstream_api.routing import Answer, Incoming, post
from leadstream_api.secrets import secrets_of
from leadstream_api.webhooks import mailgun, postmark, sendgrid, ses
from leadstream_api.webhooks.recording import claim, record_all
from leadstream_api.webhooks.setup import Webhooks
from leadstream_api.webhooks.told import NotTaken, Provider, Told, refused, require_fresh, unique
from leadstream_events import logs
from leadstream_events.limits import Rate
from leadstream_events.subscribers import utc_now

WRONG = Rate(60, 60_000)
CERTIFICATES = Rate(10, 60_000)
_log = logs.get(__name__)


@post("/webhooks/ses", status_code=200, guards=[open_to_all])
async def post_ses(request: Incoming) -> Answer:
    """Amazon SES by SNS; confirms the subscription of a topic that the settings name."""
    return await _guarded(request, Provider.SES, _ses(request))


@post("/webhooks/sendgrid", status_code=200, guards=[open_to_all])
async def post_sendgrid(request: Incoming) -> Answer:
    """SendGrid's signed event webhook."""
    return await _guarded(request, Provider.SENDGRID, _sendgrid(request))


@post("/webhooks/mailgun", status_code=200, guards=[open_to_all])
async def post_mailgun(request: Incoming) -> Answer:
    """Mailgun's webhooks."""
    return await _guarded(request, Provider.MAILGUN, _mailgun(request))


@post("/webhooks/postmark", status_code=200, guards=[open_to_all])
async def post_postmark(request: Incoming) -> Answer:
    """Postmark's webhooks."""
    return await _guarded(request, Provider.POSTMARK, _postmark(request))


HANDLERS: tuple[HTTPRouteHandler, ...] = (post_ses, post_sendgrid, post_mailgun, post_postmark)


async def _guarded(request: Incoming, provider: Provider, events: Awaitable[Sequence[Told]]) -> Answer:
    services = services_of(request)
    try:
        told = unique(await events)
    except NotTaken as error:
        await _refuse(request, provider, error)
    secrets = await secrets_of(request, services) if told else ()
    async with redis_errors(services):
        results = await record_all(services, secrets, provider, told, utc_now())
    for result, count in results.items():
        services.metrics.reported(provider, result, count)
    return json_answer({"events": len(told), "results": dict(sorted(results.items()))})


async def _refuse(request: Incoming, provider: Provider, error: NotTaken) -> NoReturn:
    services_of(request).metrics.reported(provider, error.kind, 1)
    headers = {"Retry-After": str(limits.RETRY_AFTER_S)} if error.status == 503 else {}
    if error.status in (401, 403):
        _log.warning("a webhook was refused", provider=provider.value, reason=error.kind)
        caller = access_of(request).signer.mac("webhook", address_of(request.scope))[:32]
        await require_rate(request, f"webhook:{caller}", WRONG)
    if error.status == 401:
        headers["WWW-Authenticate"] = postmark.REALM
    raise Problem(error.status, error.kind, error.detail, headers=headers) from None


def _webhooks(request: Incoming) -> Webhooks:
    return cast(Webhooks, request.app.state.webhooks)


def _absent() -> NotTaken:
    """The answer of a path that does not exist."""
    return NotTaken(404, "not-found", "There is no such resource")


async def _ses(request: Incoming) -> Sequence[Told]:
    webhooks = _webhooks(request)
    if not webhooks.topics:
        raise _absent()
    message = ses.read_message(await read_body(request, limits.WEBHOOK_BYTES))
    if message.topic not in webhooks.topics or not ses.is_of_sns(message.certificate_url, certificate=True):
        raise refused()
    if not webhooks.certificates.known(message.certificate_url):
        await require_rate(request, "webhook:certificates", CERTIFICATES)
    ses.verify(message, await webhooks.certificates.of(message.certificate_url), utc_now())
    require_fresh(message.at, utc_now())
    if message.kind == ses.CONFIRMATION:
        url = message.fields["SubscribeURL"]
        if not ses.is_of_sns(url, certificate=False):
            raise refused()
        await webhooks.fetch(url)
        _log.info("a topic of Amazon SNS is confirmed", topic=message.topic)
    elif message.kind == ses.FAREWELL:
        _log.warning("Amazon SNS ended the subscription of a topic", topic=message.topic)
    return ses.read_events(message) if message.kind == ses.NOTIFICATION else ()


async def _sendgrid(request: Incoming) -> Sequence[Told]:
    key = _webhooks(request).sendgrid
    if key is None:
        raise _absent()
    signature, timestamp = (request.headers.get(name, "") for name in (sendgrid.SIGNATURE, sendgrid.TIMESTAMP))
    body = await read_body(request, limits.WEBHOOK_BYTES)
    sendgrid.verify(key, signature, timestamp, body, utc_now())
    return sendgrid.read_events(body)


async def _mailgun(request: Incoming) -> Sequence[Told]:
    key = _webhooks(request).mailgun
    if key is None:
        raise _absent()
    body = await read_body(request, limits.WEBHOOK_BYTES)
    signed = mailgun.verify(key, body, utc_now())
    services = services_of(request)
    async with redis_errors(services):
        await claim(services, Provider.MAILGUN, signed.token, body)
    return mailgun.read_events(signed.event)


async def _postmark(request: Incoming) -> Sequence[Told]:
    token = _webhooks(request).postmark
    if token is None:
        raise _absent()
    postmark.verify(token, request.headers.get("authorization", ""))
    return postmark.read_events(await read_body(request, limits.WEBHOOK_BYTES))
