"""Headers by which a mail provider gives our name of a mail back in its reports. Pure.

Each is the provider's own; without a webhook of that provider (`WEBHOOK_*`) it is left out. Amazon SES: message tags,
and the headers of the mail itself; SendGrid: the unique arguments of X-SMTPAPI; Mailgun: X-Mailgun-Variables;
Postmark: X-PM-Metadata. They hold the token of `mail_token.py` and nothing of a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from leadstream_events.settings import Settings

NAME: Final = "leadstream-mail"


def provider_headers(settings: Settings, token: str) -> Mapping[str, str]:
    """Returns the headers for the providers whose webhooks are set up."""
    out = {}
    if settings.webhook_ses_topics:
        out["X-SES-MESSAGE-TAGS"] = f"{NAME}={token}"
    if settings.webhook_sendgrid_key:
        out["X-SMTPAPI"] = f'{{"unique_args":{{"{NAME}":"{token}"}}}}'
    if settings.webhook_mailgun_key or settings.webhook_mailgun_key_file:
        out["X-Mailgun-Variables"] = f'{{"{NAME}":"{token}"}}'
    if settings.webhook_postmark_token or settings.webhook_postmark_token_file:
        out[f"X-PM-Metadata-{NAME}"] = token
    return out
