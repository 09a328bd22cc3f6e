"""Return paths: an envelope sender of its own for each mail, so that what bounces says which mail it was (VERP). Pure.

`bounce+<token>@domain`: the token is signed, so nobody else can make a report about a mail believed, and opaque, so
case, plus signs and length of the recipient's address do not matter. It names the lead and the first four octets of the
mail's id, which tell the mails of one lead apart; 48 letters and digits of one case (RFC 5321 allows 64 octets before
the @).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from leadstream_events import tokens
from leadstream_events.ids import uuid_bytes
from leadstream_events.schemas.lead import address_key
from leadstream_events.settings import Settings

PREFIX_BYTES = 4
_LEAD_BYTES = 16
# What stands behind the token in what some relays make of an address (`bounce+TOKEN=x@`) says nothing.
_TOKEN = re.compile(r"[A-Za-z2-7]+")


@dataclass(frozen=True, slots=True)
class MailRef:
    """A mail as a return path names it: `email_prefix` is the start of its id's hexadecimal digits."""

    lead_id: str
    email_prefix: str


def return_path(base: str, secrets: Sequence[bytes], lead_id: str, email_id: str) -> str:
    """Returns the envelope sender of a mail; the base itself for ids that are no UUIDs (imported mails)."""
    lead, email = uuid_bytes(lead_id), uuid_bytes(email_id)
    if lead is None or email is None:
        return base
    payload = lead + email[:PREFIX_BYTES]
    token = tokens.to_local_part(tokens.sign(secrets, tokens.Purpose.RETURN_PATH, payload))
    local, _, domain = base.rpartition("@")
    return f"{local}+{token}@{domain}"


def token_in(address: str, base: str) -> str | None:
    """Returns what stands behind the plus sign in an address of ours; '' for the base itself, None for a stranger's."""
    local, _, domain = address.strip().strip("<>").rpartition("@")
    own_local, _, own_domain = base.rpartition("@")
    if address_key(domain) != address_key(own_domain):
        return None
    name, plus, rest = local.partition("+")
    if address_key(name) != address_key(own_local):
        return None
    return rest if plus else ""


def read_return_path(address: str, base: str, secrets: Sequence[bytes]) -> MailRef | None:
    """Returns the mail that a return path of ours names, in any case; None for anything that we did not sign."""
    match = _TOKEN.match(token_in(address, base) or "")
    token = tokens.from_local_part(match[0]) if match else None
    payload = tokens.read(secrets, tokens.Purpose.RETURN_PATH, token) if token else None
    if payload is None or len(payload) != _LEAD_BYTES + PREFIX_BYTES:
        return None
    return MailRef(str(uuid.UUID(bytes=payload[:_LEAD_BYTES])), payload[_LEAD_BYTES:].hex())


@dataclass(frozen=True, slots=True)
class ReturnPaths:
    """The envelope senders that the settings ask for. Without secrets (never learned) the base stands alone."""

    mail_from: str
    base: str | None = None
    secrets: tuple[bytes, ...] = ()

    def of(self, lead_id: str, email_id: str) -> str:
        """Returns the envelope sender of one mail, the same for each of its attempts."""
        if self.base is None:
            return self.mail_from
        return return_path(self.base, self.secrets, lead_id, email_id) if self.secrets else self.base


def return_paths(settings: Settings, secrets: Sequence[bytes]) -> ReturnPaths:
    """The envelope senders by `RETURN_PATH`, or `MAIL_FROM` without it."""
    return ReturnPaths(settings.mail_from, settings.return_path, tuple(secrets))
