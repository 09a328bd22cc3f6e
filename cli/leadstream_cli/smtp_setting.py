"""Which SMTP server the commands talk to, and how: the settings', or the inbox of a running `leadstream up`."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from leadstream_cli.connection import configured, find_smtp_url

if TYPE_CHECKING:
    from leadstream_events.settings import Settings
    from leadstream_mail.smtp.endpoint import Endpoint


def smtp_url(settings: Settings) -> str:
    """The configured server; without one, that of a running `up`."""
    return settings.smtp_url.get_secret_value() if configured("smtp_url") else find_smtp_url().value


def password_of(settings: Settings) -> str | None:
    """The password from the setting or its file."""
    from leadstream_mail.smtp.from_settings import smtp_password

    return smtp_password(settings)


def tls_context_for(endpoint: Endpoint) -> ssl.SSLContext | None:
    """The usual TLS checks, where the URL asks for TLS."""
    from leadstream_mail.smtp.endpoint import Tls

    return None if endpoint.tls is Tls.NONE else ssl.create_default_context()
