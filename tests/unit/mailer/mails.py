"""Leads, a builder and a strict reader of raw mails for the tests of mail content."""

from __future__ import annotations

import email
import email.header
import email.message
import email.policy
import email.utils
import re
from datetime import UTC, datetime
from typing import Any

from leadstream_events.schemas.events import Kind
from leadstream_events.schemas.lead import Lead
from leadstream_mail.build import MailBuilder, PreparedMail, RawMail
from leadstream_mail.templates import Templates

NOW = datetime(2026, 1, 31, 9, 5, 7, tzinfo=UTC)
MESSAGE_ID = "<0b5a@example.com>"
FIXED = [
    *("from", "to", "date", "message-id", "subject", "auto-submitted", "x-auto-response-suppress"),
    *("x-leadstream-lead", "reply-to", "mime-version", "content-type"),
]
WELCOME_FIXED = [name for name in FIXED if name != "reply-to"]
_MARKS = ["x-leadstream-mail", "feedback-id", "list-unsubscribe", "list-unsubscribe-post"]
# As a mail goes out, with the marks of its one recipient.
SENT = [*FIXED[:4], *_MARKS, *FIXED[4:]]
WELCOME_SENT = [*WELCOME_FIXED[:4], *_MARKS[:2], *WELCOME_FIXED[4:]]
BUILDER = MailBuilder(Templates.load(None), "leads@example.com", "http://127.0.0.1:8000")


def a_lead(**fields: Any) -> Lead:
    return Lead(**{"full_name": "Dana Example", "email": "dana@example.com", **fields})


def prepared(lead: Lead, kind: Kind = Kind.NOTIFICATION) -> PreparedMail:
    return BUILDER.build(kind, "lead-1", lead, NOW)


def raw(
    lead: Lead | None = None,
    kind: Kind = Kind.NOTIFICATION,
    name: str | None = "Sam Buyer",
    address: str = "s1@example.com",
    extra: dict[str, str] | None = None,
) -> RawMail:
    return prepared(lead or a_lead(), kind).for_recipient(
        name=name, address=address, message_id=MESSAGE_ID, date=NOW, extra=extra
    )


def parsed(data: bytes) -> email.message.EmailMessage:
    return email.message_from_bytes(data, policy=email.policy.default)


def mailbox(data: bytes, header: str) -> tuple[str, str]:
    """Display name and address of a header that holds one.

    Read with the older half of the standard library: the newer one keeps the blank between two encoded words on
    Python 3.11, against RFC 2047 section 6.2.
    """
    value = str(email.message_from_bytes(data, policy=email.policy.compat32)[header])
    ((name, address),) = email.utils.getaddresses([value.replace("\r\n", "")])
    return str(email.header.make_header(email.header.decode_header(name))), address


def header_names(data: bytes) -> list[str]:
    """Names of the top header lines, read byte by byte: no help of a lenient parser."""
    head = data.partition(b"\r\n\r\n")[0]
    unfolded = re.sub(rb"\r\n[ \t]", b" ", head)
    return [line.partition(b":")[0].decode().lower() for line in unfolded.split(b"\r\n")]


def parts(data: bytes) -> tuple[str, str]:
    """The decoded text and HTML, line breaks as line feeds."""
    message = parsed(data)
    text, html = message.iter_parts()
    return text.get_content().replace("\r\n", "\n"), html.get_content().replace("\r\n", "\n")


def assert_wire_safe(data: bytes) -> None:
    assert data.endswith(b"\r\n")
    assert b"\r" not in data.replace(b"\r\n", b"")
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\x00" not in data
    assert max(map(len, data.split(b"\r\n"))) <= 998
