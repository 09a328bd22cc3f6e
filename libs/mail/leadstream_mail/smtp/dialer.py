"""Opens connections to one server, with a fresh token for each login."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

from leadstream_events.errors import Transient
from leadstream_mail.smtp.dial import open_session
from leadstream_mail.smtp.endpoint import Endpoint, Tls
from leadstream_mail.smtp.outcome import Cause, Phase, Unreachable, unreachable
from leadstream_mail.smtp.session import Session
from leadstream_mail.smtp.transaction import SessionFailed

Token = Callable[[], Awaitable[str]]


class Dialer:
    """Dials `endpoint`. `token` is asked per login, and once more if the first is refused; without it the password
    serves as the token. Times are seconds."""

    def __init__(
        self,
        endpoint: Endpoint,
        tls_context: ssl.SSLContext | None,
        token: Token | None,
        *,
        timeout_s: float,
        data_timeout_s: float,
    ) -> None:
        if tls_context is None and endpoint.tls is not Tls.NONE:
            tls_context = ssl.create_default_context()
        self._endpoint, self._tls_context, self._token = endpoint, tls_context, token
        self._timeout_s, self._data_timeout_s = timeout_s, data_timeout_s

    async def dial(self) -> Session:
        """Returns a session ready for MAIL; raises `SessionFailed` with `Unreachable`."""
        try:
            return await self._dial_once()
        except SessionFailed as failed:
            if self._token is None or failed.outcome.failure.cause != Cause.AUTH_FAILED:
                raise
        return await self._dial_once()

    async def _dial_once(self) -> Session:
        secret = self._endpoint.password
        if self._endpoint.xoauth2 and self._token is not None:
            try:
                secret = await self._token()
            except (OSError, Transient):
                raise SessionFailed(unreachable(Phase.AUTH, Cause.TOKEN)) from None
        return await open_session(self._endpoint, secret, self._tls_context, self._timeout_s, self._data_timeout_s)


def means_too_many(outcome: Unreachable) -> bool:
    """True if a server that serves our other connections would refuse one more in this way."""
    said = outcome.failure
    if said.phase == Phase.BANNER:
        return said.cause in (Cause.SERVER_BUSY, Cause.LOST)
    return said.phase in (Phase.EHLO, Phase.AUTH) and said.code is not None and said.code < 500
