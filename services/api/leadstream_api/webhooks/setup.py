"""Which webhooks there are, by the settings; read once, so that a wrong key stops the start and not a report."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from leadstream_api.setting_secrets import secret_setting
from leadstream_api.webhooks.sendgrid import read_key
from leadstream_api.webhooks.told import NotTaken, refused
from leadstream_events.errors import ConfigurationError
from leadstream_events.settings import PREFIX, Settings

Fetch = Callable[[str], Awaitable[bytes]]
_SHORTEST_TOKEN = 16
_TIMEOUT_S = 5.0
_MOST_BYTES = 64 * 1024
_MOST_CERTIFICATES = 16


async def fetch(url: str) -> bytes:
    """GET of an address that was checked before; follows no redirect. `NotTaken` (503) for anything but a 200."""
    import httpx  # not before it is needed: most services never fetch a certificate

    try:
        async with (
            httpx.AsyncClient(follow_redirects=False, timeout=_TIMEOUT_S) as client,
            client.stream("GET", url) as answer,
        ):
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _MOST_BYTES:
                    break
            if answer.status_code == 200 and len(body) <= _MOST_BYTES:
                return body
    except httpx.HTTPError:
        pass
    raise NotTaken(503, "provider-unreachable", "Amazon SNS could not be asked now")


class Certificates:
    """SNS' signing certificates by their address; one that was fetched is kept."""

    def __init__(self, get: Fetch) -> None:
        self._get = get
        self._kept: OrderedDict[str, x509.Certificate] = OrderedDict()

    def known(self, url: str) -> bool:
        """True when nothing has to be fetched."""
        return url in self._kept

    async def of(self, url: str) -> x509.Certificate:
        """Returns the certificate; `NotTaken` when it cannot be had or is none."""
        found = self._kept.get(url)
        if found is None:
            try:
                found = x509.load_pem_x509_certificate(await self._get(url))
            except ValueError:
                raise refused() from None
            if len(self._kept) >= _MOST_CERTIFICATES:
                self._kept.popitem(last=False)
            self._kept[url] = found
        return found


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What is set up; a webhook that is not has None, or no topics."""

    topics: frozenset[str]
    sendgrid: EllipticCurvePublicKey | None
    mailgun: bytes | None
    postmark: bytes | None
    certificates: Certificates
    fetch: Fetch


def open_webhooks(settings: Settings, get: Fetch = fetch) -> Webhooks:
    """Reads keys and files; `ConfigurationError` names the setting that is wrong."""
    postmark = secret_setting(
        settings.webhook_postmark_token, settings.webhook_postmark_token_file, "WEBHOOK_POSTMARK_TOKEN"
    )
    if postmark is not None and len(postmark) < _SHORTEST_TOKEN:
        raise ConfigurationError(f"{PREFIX}WEBHOOK_POSTMARK_TOKEN: must have {_SHORTEST_TOKEN} or more characters")
    sendgrid = None
    if settings.webhook_sendgrid_key:
        try:
            sendgrid = read_key(settings.webhook_sendgrid_key)
        except ValueError as error:
            raise ConfigurationError(f"{PREFIX}WEBHOOK_SENDGRID_KEY: {error}") from None
    return Webhooks(
        frozenset(settings.webhook_ses_topics),
        sendgrid,
        secret_setting(settings.webhook_mailgun_key, settings.webhook_mailgun_key_file, "WEBHOOK_MAILGUN_KEY"),
        postmark,
        Certificates(get),
        get,
    )
