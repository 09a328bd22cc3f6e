"""What is put into a mail for its one recipient beside his name and address. Pure; the same on every path.

Our signed name of the mail (`mail_token.py`), the headers by which providers give it back, what groups it for Gmail
(Feedback-ID), and the link that ends a subscriber's mails. A welcome mail has no such link: nobody subscribes to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from leadstream_events.schemas.events import Kind
from leadstream_events.settings import Settings
from leadstream_mail.mail_token import HEADER, mail_token
from leadstream_mail.provider_headers import provider_headers
from leadstream_mail.unsubscribe import NO_TOKEN, token_of, unsubscribe_headers


@dataclass(frozen=True, slots=True)
class Mark:
    """`headers` and the token of the link in the body, as `PreparedMail.for_recipient` takes them."""

    headers: Mapping[str, str]
    unsubscribe: str = NO_TOKEN


@dataclass(frozen=True, slots=True)
class Marks:
    """Makes marks with the secrets in force. Without secrets (none were ever known) mails go out unmarked."""

    settings: Settings
    secrets: Sequence[bytes]

    def of(self, lead_id: str, email_id: str, subscriber_id: str | None) -> Mark:
        """Returns the mark of one mail."""
        if not self.secrets:
            return Mark({})
        headers: dict[str, str] = {}
        token = mail_token(self.secrets, lead_id, email_id)
        if token is not None:
            headers |= {HEADER: token, **provider_headers(self.settings, token)}
        headers["Feedback-ID"] = feedback_id(self.settings.feedback_id, subscriber_id)
        if subscriber_id is None:
            return Mark(headers)
        settings = self.settings
        ways, token = _ways_out(settings.public_url, settings.unsubscribe_mailto, self.secrets[0], subscriber_id)
        return Mark({**headers, **ways}, token)


@lru_cache(maxsize=4096)
def _ways_out(public_url: str, mailto: str | None, secret: bytes, subscriber_id: str) -> tuple[Mapping[str, str], str]:
    """What ends a subscriber's mails, the same in all of them: headers, and the token of the link."""
    return unsubscribe_headers(public_url, (secret,), subscriber_id, mailto), token_of((secret,), subscriber_id)


@lru_cache(maxsize=4096)
def feedback_id(sender: str, subscriber_id: str | None) -> str:
    """Returns `kind:subscriber::sender`, by which Gmail groups complaints; the subscriber by a part of a hash."""
    if subscriber_id is None:
        return f"{Kind.WELCOME}:::{sender}"
    return f"{Kind.NOTIFICATION}:{hashlib.blake2b(subscriber_id.encode(), digest_size=5).hexdigest()}::{sender}"
