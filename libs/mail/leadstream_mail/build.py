"""Builds a mail once per lead, kind and format; each recipient costs a splice of bytes.

The bytes are CRLF only, no line is longer than 998 octets (RFC 5322 section 2.1.1), and whatever a visitor typed,
the headers are exactly the fixed set below. Equal input gives equal bytes on every path, so the fallback and the
stream send the same mail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from secrets import token_hex

from leadstream_events.errors import Permanent
from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.subscriber import MailFormat
from leadstream_mail.addresses import WireAddress, wire_address, wire_domain
from leadstream_mail.adf import writing as adf
from leadstream_mail.body import Pieces, alternative, cut, fill, plain_ascii, quoted, single
from leadstream_mail.context import template_context
from leadstream_mail.dkim import DkimKey, signatures
from leadstream_mail.headers import encode_mailbox, encode_text
from leadstream_mail.templates import Rendered, Templates
from leadstream_mail.unsubscribe import NO_TOKEN, PATH, TOKEN_CHARS

_TOKEN = re.compile(r"[!-9;-~]{1,70}")
_VALUE = re.compile(r"[!-~]+(?: [!-~]+)*")
_ID = re.compile(r"[!-;=?-~]{1,200}")
_OURS = frozenset(
    (
        *("from", "to", "subject", "date", "message-id", "reply-to", "cc", "bcc", "sender", "auto-submitted"),
        *("mime-version", "content-type", "content-transfer-encoding", "x-auto-response-suppress", "x-leadstream-lead"),
    )
)
_SAMPLE_VENDOR = ("Sample Subscriber", "subscriber@example.com")  # in what is shown, which has no recipient
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class RawMail:
    """A mail ready for SMTP: `data` as it follows DATA, not yet dot-stuffed, ending in CRLF."""

    data: bytes
    needs_smtputf8: bool
    needs_8bitmime: bool
    envelope_to: str


@dataclass(frozen=True, slots=True)
class PreparedMail:
    """Everything of a mail but its recipient."""

    _rendered: Rendered = field(repr=False)
    _marker: str = field(repr=False)
    _head: bytes = field(repr=False)
    _tail: Pieces = field(repr=False)
    _from_needs_smtputf8: bool
    _keys: Sequence[DkimKey] = field(default=(), repr=False)
    # What a document says of its recipient, put where other mails have his link.
    _own: Callable[[str | None, str], bytes] | None = field(default=None, repr=False)

    @property
    def rendered(self) -> Rendered:
        """What it says, for showing it; a link has no recipient's token there."""
        whole = self._rendered
        return Rendered(*(part.replace(self._marker, NO_TOKEN) for part in (whole.subject, whole.text, whole.html)))

    def for_recipient(
        self,
        *,
        name: str | None,
        address: str,
        message_id: str,
        date: datetime,
        extra: Mapping[str, str] | None = None,
        unsubscribe: str = NO_TOKEN,
    ) -> RawMail:
        """Returns the mail to one recipient. `unsubscribe` is his token for the link in the body.

        `extra` are further headers of our own making (List-Unsubscribe): ASCII, at most 900 characters; ValueError
        otherwise, or if one would repeat a fixed header. `Permanent("unsendable_address")` if the address has no
        safe spelling.
        """
        mailbox, wire = _to(name or None, address)
        own = self._own(name, address) if self._own else unsubscribe.encode("ascii")
        at = int(date.timestamp())
        more = b"".join(_extra(key, value) for key, value in extra.items()) if extra else b""
        data = b"".join(
            (
                self._head,
                b"To: ",
                mailbox,
                b"\r\nDate: ",
                _date(at),
                b"\r\nMessage-ID: ",
                _message_id(message_id),
                b"\r\n",
                more,
                fill(self._tail, own),
            )
        )
        if self._keys:
            data = signatures(data, self._keys, at) + data
        return RawMail(data, wire.needs_smtputf8 or self._from_needs_smtputf8, wire.needs_smtputf8, wire.text)


@dataclass(frozen=True, slots=True)
class MailBuilder:
    """Builds mails from one sender address. `mail_from` that cannot be written raises `Permanent` on first use."""

    templates: Templates
    mail_from: str
    public_url: str
    keys: Sequence[DkimKey] = field(default=(), repr=False)
    # Stands for the token of a recipient while a mail is built for all. Random, so that no visitor can write it into
    # a lead and have the token of whoever gets the mail put beside an address of his own.
    _marker: str = field(default_factory=lambda: token_hex(TOKEN_CHARS // 2), repr=False)

    def build(
        self, kind: Kind, lead_id: str, lead: Lead, now: datetime, form: MailFormat = MailFormat.HTML
    ) -> PreparedMail:
        """Returns the mail of this kind about this lead; `now` is shown as the time of receipt.

        Formats other than HTML are for subscribers. `Permanent("template")` if a template fails on this lead,
        `Permanent("adf")` if the lead makes no document that keeps to ADF.
        """
        if not _ID.fullmatch(lead_id):
            raise ValueError("lead_id must be 1 to 200 printable ASCII characters without blanks, < and >")
        url = self.public_url.rstrip("/") + PATH + self._marker
        rendered = self.templates.render(kind, template_context(kind, lead_id, lead, now, self.public_url, url))
        own: Callable[[str | None, str], bytes] | None = None
        if form is MailFormat.ADF:
            rendered, content_type, body, own = self._adf(lead_id, lead, now, rendered.subject)
        elif form is MailFormat.TEXT:
            rendered = Rendered(rendered.subject, rendered.text, "")
            content_type, body = single(rendered.text, self._marker)
        else:
            content_type, body = alternative(rendered.text, rendered.html, f"{kind.value}\x00{lead_id}", self._marker)
        sender = wire_address(self.mail_from)
        lines = [
            f"Subject: {encode_text(rendered.subject, 9)}",
            "Auto-Submitted: auto-generated",
            "X-Auto-Response-Suppress: All",
            f"X-Leadstream-Lead: {lead_id}",
        ]
        if kind is Kind.NOTIFICATION:
            lines += _reply_to(lead)
        head = f"From: {sender.text}\r\n".encode()
        tail = "".join(line + "\r\n" for line in lines).encode() + b"MIME-Version: 1.0\r\n" + content_type
        pieces = cut(tail + b"\r\n" + body, self._marker)
        return PreparedMail(rendered, self._marker, head, pieces, sender.needs_smtputf8, self.keys, own)

    def _adf(
        self, lead_id: str, lead: Lead, now: datetime, subject: str
    ) -> tuple[Rendered, bytes, bytes, Callable[[str | None, str], bytes]]:
        """The document as it is shown, the mail's header lines and body, and what makes the vendor of a recipient."""
        text = adf.document(lead_id, lead, now, self.public_url, self._marker)
        shown = adf.checked(text.replace(self._marker, adf.vendor_lines(*_SAMPLE_VENDOR), 1))
        content_type, body, is_quoted = plain_ascii(text)
        return Rendered(subject, shown, ""), content_type, body, _quoted_vendor if is_quoted else _vendor


@lru_cache(maxsize=8192)
def _vendor(name: str | None, address: str) -> bytes:
    return adf.vendor_lines(name, address).replace("\n", "\r\n").encode("ascii")


@lru_cache(maxsize=8192)
def _quoted_vendor(name: str | None, address: str) -> bytes:
    return quoted(adf.vendor_lines(name, address))


def _reply_to(lead: Lead) -> list[str]:
    """The lead as Reply-To; left out where ASCII headers cannot name him."""
    try:
        wire = wire_address(lead.email)
    except Permanent:
        return []
    return [] if wire.needs_smtputf8 else [f"Reply-To: {encode_mailbox(lead.full_name, wire.text, 10)}"]


@lru_cache(maxsize=8192)
def _to(name: str | None, address: str) -> tuple[bytes, WireAddress]:
    wire = wire_address(address)
    return encode_mailbox(name, wire.text, 4).encode(), wire


@lru_cache(maxsize=64)
def _date(timestamp: int) -> bytes:
    """RFC 5322 section 3.3, in English whatever the locale."""
    at = datetime.fromtimestamp(timestamp, UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02d} {month} {at.year:04d} {at:%H:%M:%S} +0000".encode()


def _message_id(value: str) -> bytes:
    if not value.isascii():  # the domain of MAIL_FROM may be an IDN
        left, _, domain = value.strip("<>").rpartition("@")
        value = f"<{left}@{wire_domain(domain)}>"
    if not (value.startswith("<") and value.endswith(">") and _ID.fullmatch(value[1:-1])):
        raise ValueError("message_id must be <left@right> in printable ASCII")
    return value.encode()


def _extra(key: str, value: str) -> bytes:
    if not _TOKEN.fullmatch(key) or key.lower() in _OURS:
        raise ValueError(f"header {key!r} is not a header name or is one of the fixed headers")
    if not _VALUE.fullmatch(value) or len(value) > 900 or "=?" in value:
        raise ValueError(f"header {key}: the value must be one line of at most 900 printable ASCII characters")
    return f"{key}: {value}\r\n".encode()
