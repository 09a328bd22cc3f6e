"""Reads an SMTP URL: `smtp://`, `smtp+starttls://` or `smtps://`, user and password percent-encoded.

`?auth=xoauth2` logs in with a token instead of a password. Errors name the setting and never the URL, which may
hold a password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qs, unquote, urlsplit

from leadstream_events.errors import ConfigurationError


class Tls(StrEnum):
    """How the session is encrypted."""

    NONE = "smtp"
    STARTTLS = "smtp+starttls"
    IMPLICIT = "smtps"


_PORTS = {Tls.NONE: 25, Tls.STARTTLS: 587, Tls.IMPLICIT: 465}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to submit mail."""

    tls: Tls
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    xoauth2: bool = False


def parse_smtp_url(url: str, password: str | None = None) -> Endpoint:
    """Returns the endpoint; `password` wins over the one inside the URL. ConfigurationError for a wrong URL."""
    try:
        parts = urlsplit(url)
        tls, port = Tls(parts.scheme), parts.port
        query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise _wrong("must be smtp://, smtp+starttls:// or smtps://, a host and perhaps a port") from None
    if not parts.hostname or parts.path not in ("", "/"):
        raise _wrong("must name a host and no path")
    if query not in ({}, {"auth": ["xoauth2"]}):
        raise _wrong("knows one option, ?auth=xoauth2")
    user = unquote(parts.username) if parts.username else None
    secret = password if password is not None else unquote(parts.password) if parts.password is not None else None
    if (query or secret is not None) and user is None:
        raise _wrong("needs a user before the host, as in smtps://user@host, to log in")
    if user is not None and secret is None and not query:
        raise _wrong("names a user but no password; set LEADSTREAM_SMTP_PASSWORD or LEADSTREAM_SMTP_PASSWORD_FILE")
    return Endpoint(tls, parts.hostname, port or _PORTS[tls], user, secret, bool(query))


def _wrong(mend: str) -> ConfigurationError:
    return ConfigurationError(f"LEADSTREAM_SMTP_URL: {mend}")
