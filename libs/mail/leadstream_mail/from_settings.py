"""The mail builder that the settings ask for, the same for the mailer, the API's fallback and the command line."""

from __future__ import annotations

from leadstream_events.settings import Settings
from leadstream_mail.build import MailBuilder
from leadstream_mail.dkim_keys import keys_of
from leadstream_mail.templates import Templates


def make_builder(settings: Settings) -> MailBuilder:
    """Returns a builder whose mails are signed if DKIM is set up. `ConfigurationError` for templates or keys."""
    templates = Templates.load(settings.templates_dir)
    return MailBuilder(templates, settings.mail_from, settings.public_url, keys_of(settings))
