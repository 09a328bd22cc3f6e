"""The connections that the settings ask for, the same for the mailer, the API's fallback and the command line."""

from __future__ import annotations

from leadstream_events.secret_files import read_secret
from leadstream_events.settings import Settings
from leadstream_mail.smtp.pool import SmtpPool


def smtp_password(settings: Settings) -> str | None:
    """The password from the setting or from its file; None leaves what the URL says. `ConfigurationError` for a file
    that cannot be read or is empty."""
    if settings.smtp_password:
        return settings.smtp_password.get_secret_value()
    if settings.smtp_password_file is None:
        return None
    return read_secret(settings.smtp_password_file, "LEADSTREAM_SMTP_PASSWORD_FILE")


def make_pool(settings: Settings) -> SmtpPool:
    """The connection pool; nothing is dialed yet. `ConfigurationError` as in `smtp_password`, or for a wrong URL."""
    return SmtpPool(
        settings.smtp_url.get_secret_value(),
        smtp_password(settings),
        connections=settings.smtp_connections,
        timeout_s=settings.smtp_timeout,
        data_timeout_s=settings.smtp_data_timeout,
    )
