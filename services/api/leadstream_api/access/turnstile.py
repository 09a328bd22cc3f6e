"""Cloudflare Turnstile: whether a person sent the form, asked of Cloudflare before the lead is stored.

Wanted of leads that come with a publishable key, since that key stands in a web page for every program to read; a
secret key, a session and this machine itself prove enough. A token is good once and for 300 seconds. It is sent on
under the lead's id: whoever asks again under the same `Idempotency-Key` gets the same verdict, and nobody else does.

Nobody answering is no verdict. Then `TURNSTILE_UNANSWERED` decides; by default the lead is taken, because a lead that
is lost is worse than one that a program sent. The token is neither stored nor logged, and no address of the visitor is
sent on. Source: Cloudflare's documentation of the siteverify API.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from leadstream_api.access.origins import is_loopback_name
from leadstream_api.problems import Problem, field_error
from leadstream_api.setting_secrets import secret_setting
from leadstream_events import logs
from leadstream_events.errors import ConfigurationError
from leadstream_events.setting_values import OnUnanswered
from leadstream_events.settings import PREFIX, Settings

if TYPE_CHECKING:
    import httpx

FIELD = "cf-turnstile-response"
_LONGEST_TOKEN = 2048
_MOST_BYTES = 64 * 1024
_RETRY_AFTER_S = 5
_SPENT = "timeout-or-duplicate"
_WRONG_TOKEN = frozenset(("invalid-input-response", "missing-input-response", _SPENT))
_WRONG_SECRET = frozenset(("invalid-input-secret", "missing-input-secret"))
_log = logs.get(__name__)


class Verdict(StrEnum):
    """What is known of a token; `UNANSWERED` covers answers that say nothing about it."""

    PASSED = "passed"
    REFUSED = "refused"
    SPENT = "spent"
    WRONG_SECRET = "wrong-secret"  # noqa: S105
    UNANSWERED = "unanswered"


class _Answer(msgspec.Struct):
    success: bool
    codes: list[str] = msgspec.field(name="error-codes", default_factory=list)


def verdict_of(status: int, body: bytes) -> Verdict:
    """Reads an answer of siteverify. Only what names the token as the fault is a refusal."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Verdict.UNANSWERED
    codes = set(answer.codes)
    if answer.success:
        return Verdict.PASSED if status == 200 else Verdict.UNANSWERED
    if codes & _WRONG_SECRET:
        return Verdict.WRONG_SECRET
    if _SPENT in codes:
        return Verdict.SPENT
    return Verdict.REFUSED if codes & _WRONG_TOKEN else Verdict.UNANSWERED


@dataclass(slots=True)
class Turnstile:
    """Asks siteverify over kept connections, each question within `timeout_s` in all."""

    secret: str = field(repr=False)
    url: str
    timeout_s: float
    unanswered: OnUnanswered
    _client: httpx.AsyncClient | None = None

    async def check(self, token: str, lead_id: str) -> Verdict:
        """Returns the verdict for a token that came with this lead; never raises for what the other side does."""
        import httpx  # not before it is needed: most APIs check no tokens

        if self._client is None:
            logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
            self._client = httpx.AsyncClient(follow_redirects=False, timeout=self.timeout_s)
        form = {"secret": self.secret, "response": token, "idempotency_key": lead_id}
        try:
            async with asyncio.timeout(self.timeout_s):
                return verdict_of(*await _ask(self._client, self.url, form))
        except (httpx.HTTPError, TimeoutError):
            return Verdict.UNANSWERED

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()


async def _ask(client: httpx.AsyncClient, url: str, form: dict[str, str]) -> tuple[int, bytes]:
    body = b""
    async with client.stream("POST", url, data=form) as answer:
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > _MOST_BYTES:
                break
        return answer.status_code, body


def open_turnstile(settings: Settings) -> Turnstile | None:
    """Returns None without a secret; `ConfigurationError` when the secret or the address is wrong."""
    secret = secret_setting(settings.turnstile_secret, settings.turnstile_secret_file, "TURNSTILE_SECRET")
    if secret is None:
        return None
    try:
        parts = urlsplit(settings.turnstile_url)
        local = is_loopback_name(parts.hostname or "")
        safe = (parts.scheme == "https" or (parts.scheme == "http" and local)) and parts.port != 0
    except ValueError:
        safe = False
    if not safe or not parts.hostname:
        raise ConfigurationError(f"{PREFIX}TURNSTILE_URL: must be https://host/path, since the secret is sent there")
    return Turnstile(
        secret.decode("utf-8", "replace"),
        settings.turnstile_url,
        settings.turnstile_timeout,
        settings.turnstile_unanswered,
    )


async def require_person(turnstile: Turnstile, token: str | None, lead_id: str) -> Verdict:
    """Lets the lead through, or raises a `Problem`: 422 for the token, 503 when nobody answers and that refuses."""
    if not token or len(token) > _LONGEST_TOKEN:
        raise _wrong("is missing; the form needs the Turnstile widget")
    verdict = await turnstile.check(token, lead_id)
    match verdict:
        case Verdict.PASSED:
            return verdict
        case Verdict.SPENT:
            raise _wrong("was used before or is older than 5 minutes; solve the challenge again")
        case Verdict.REFUSED:
            raise _wrong("is not a token of this site's widget; solve the challenge again")
    if verdict is Verdict.WRONG_SECRET:
        _log.error("Turnstile does not know the secret; set LEADSTREAM_TURNSTILE_SECRET to that of the widget")
    if turnstile.unanswered is OnUnanswered.REFUSE:
        detail = "Whether a person sent this cannot be checked now; try again"
        raise Problem(503, "turnstile-unanswered", detail, headers={"Retry-After": str(_RETRY_AFTER_S)})
    _log.warning("a lead is taken without a checked Turnstile token", cause=verdict.value, lead=lead_id)
    return verdict


def _wrong(message: str) -> Problem:
    return Problem(422, "turnstile", f"Not valid: {FIELD}", errors=[field_error([FIELD], message)])
