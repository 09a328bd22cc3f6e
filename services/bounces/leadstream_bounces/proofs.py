"""Which of our mails a mail that came in is about, as far as it can prove that. Pure.

Anybody can write to the bounce address. A report is believed by a token that we signed: in the address that it was sent
to, in the header `X-Leadstream-Mail` of the original mail, or in the return path that the original carries.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import getaddresses

from leadstream_events.schemas.lead import address_key
from leadstream_events.settings import Settings
from leadstream_mail.mail_token import read_mail_token
from leadstream_mail.return_path import MailRef, read_return_path, token_in

_ENVELOPE_HEADERS = ("Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To", "To", "Cc")
_MOST_ADDRESSES = 50


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses that are ours to take mail for."""

    return_path: str | None
    abuse_to: str | None

    def ours(self, address: str) -> bool:
        """True for the return path with whatever token, right or wrong, and for the address of complaints."""
        if self.return_path and token_in(address, self.return_path) is not None:
            return True
        return self.abuse_to is not None and address_key(address.strip("<> ")) == address_key(self.abuse_to)


def addresses_of(settings: Settings) -> Addresses:
    """The addresses by the settings."""
    return Addresses(settings.return_path, settings.abuse_to)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A mail that came in: its bytes, whom the envelope named, and by which door (smtp, lmtp, file, imap)."""

    raw: bytes
    recipients: tuple[str, ...]
    source: str

    @property
    def digest(self) -> str:
        """Stands for the bytes, whatever their line ends."""
        return hashlib.sha256(re.sub(rb"\r\n?|\n", b"\n", self.raw)).hexdigest()


def header_of(raw: bytes) -> Message:
    """The header of a mail; empty when it has none that can be read."""
    try:
        return BytesHeaderParser().parsebytes(re.sub(rb"\r\n?|\n", b"\n", raw[:100_000]))
    except Exception:  # hostile bytes reach bugs of the parser
        return Message()


def report_id(mail: Incoming) -> str:
    """The name of a report: its Message-ID, or its bytes where it has none. Delivered again, it has the same."""
    own = " ".join(str(header_of(mail.raw)["Message-ID"] or "").split())
    return f"m:{hashlib.sha256(own.encode(errors='replace')).hexdigest()[:32]}" if own else f"h:{mail.digest[:32]}"


def addressed_to(raw: bytes) -> tuple[str, ...]:
    """Whom the header of a mail names, for mails that come without an envelope (from a file or a mailbox)."""
    header = header_of(raw)
    found = getaddresses([str(value) for name in _ENVELOPE_HEADERS for value in header.get_all(name, [])])
    return tuple(address for _, address in found[:_MOST_ADDRESSES] if "@" in address)


def return_paths_in(raw: bytes, base: str) -> Iterable[str]:
    """Every address in the mail that looks like a return path of ours: the original brings its own along."""
    local, _, domain = base.rpartition("@")
    pattern = rf"{re.escape(local)}\+[a-z2-7]{{40,64}}@{re.escape(domain)}"
    return dict.fromkeys(match[0].decode() for match in re.finditer(pattern.encode(), raw, re.IGNORECASE))


@dataclass(frozen=True, slots=True)
class Prover:
    """Reads tokens with the secrets in force."""

    secrets: Sequence[bytes]
    return_path: str | None

    def of(self, mail: Incoming, token: str | None) -> MailRef | None:
        """The mail that it proves to be about; None without a proof, or when its proofs contradict each other.

        `token` is the header of the original mail. It names the mail in full and so wins over a start of its id.
        """
        found = list(self._by_address(mail))
        named = read_mail_token(self.secrets, token) if token else None
        if named is not None:
            found.insert(0, MailRef(named[0], uuid.UUID(named[1]).hex))
        if len({(ref.lead_id, ref.email_prefix[:8]) for ref in found}) != 1:
            return None
        return found[0]

    def _by_address(self, mail: Incoming) -> Iterable[MailRef]:
        if self.return_path is None:
            return
        for address in (*mail.recipients, *return_paths_in(mail.raw, self.return_path)):
            ref = read_return_path(address, self.return_path, self.secrets)
            if ref is not None:
                yield ref
