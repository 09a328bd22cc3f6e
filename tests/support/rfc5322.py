"""A strict reading of a mail's bytes (RFC 5322, RFC 2045): says everything that is wrong with them."""

from __future__ import annotations

import re
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parsedate_to_datetime

# RFC 5322 section 3.6: the fewest and the most of each.
_COUNTS = {
    "date": (1, 1),
    "from": (1, 1),
    "sender": (0, 1),
    "reply-to": (0, 1),
    "to": (1, 1),  # not needed by the RFC, and by every receiver
    "cc": (0, 1),
    "bcc": (0, 0),
    "message-id": (1, 1),
    "subject": (1, 1),
    "mime-version": (1, 1),
    "content-type": (1, 1),
}
_MESSAGE_ID = re.compile(r"<[^\s<>@]+@[^\s<>@]+>")
_FIELD = re.compile(rb"[!-9;-~]+:(?: [^\r\n]*|\r\n[ \t][^\r\n]*)?(?:\r\n[ \t]+[^\r\n]*[^\s][^\r\n]*)*")
# What Gmail and Yahoo ask of senders beside SPF, DKIM and DMARC; the last two of mails that one can subscribe to.
ASKED = ("From", "To", "Date", "Message-ID", "Subject", "MIME-Version", "Content-Type", "DKIM-Signature", "Feedback-ID")
ASKED_OF_LISTS = ("List-Unsubscribe", "List-Unsubscribe-Post")


def violations(data: bytes) -> list[str]:
    """Returns what is wrong; empty for a mail as it should follow DATA."""
    head, gap, body = data.partition(b"\r\n\r\n")
    return [
        *([] if gap else ["no empty line ends the header"]),
        *([] if not re.search(rb"(?<!\r)\n|\r(?!\n)", data) else ["a bare CR or LF"]),
        *([] if b"\0" not in data else ["NUL"]),
        *(f"a line of {len(line)} octets" for line in data.split(b"\r\n") if len(line) > 998),
        *_header_violations(head),
        *_mime_violations(data, body),
    ]


def _header_violations(head: bytes) -> list[str]:
    found: list[str] = []
    names: dict[str, int] = {}
    for field in re.split(rb"\r\n(?![ \t])", head):
        name = field.partition(b":")[0].decode("latin-1").lower()
        names[name] = names.get(name, 0) + 1
        if not _FIELD.fullmatch(field):
            found.append(f"header {name} is not written as RFC 5322 says")
        if not field.isascii():
            found.append(f"header {name} is not ASCII")
        if max(map(len, field.split(b"\r\n"))) > 998:
            found.append(f"header {name} is too long")
    for name, (least, most) in _COUNTS.items():
        if not least <= names.get(name, 0) <= most:
            found.append(f"{names.get(name, 0)} headers {name}")
    return found


def _mime_violations(data: bytes, body: bytes) -> list[str]:
    mail = BytesParser(policy=policy.default).parsebytes(data)
    assert isinstance(mail, EmailMessage)
    found = [f"{type(defect).__name__} in the mail" for part in mail.walk() for defect in part.defects]
    if not _MESSAGE_ID.fullmatch(str(mail["Message-ID"]).strip()):
        found.append("Message-ID is none")
    try:
        parsedate_to_datetime(str(mail["Date"]))
    except ValueError:
        found.append("Date is none")
    for part in mail.walk():
        if not part.is_multipart() and part.get_content_maintype() == "text":
            try:
                part.get_content()
            except (LookupError, UnicodeDecodeError):
                found.append("a part cannot be decoded")
    if mail["Content-Transfer-Encoding"] != "8bit" and not body.isascii():
        found.append("the body is not ASCII and does not say so")
    return found


def missing(data: bytes, *, subscribed: bool) -> list[str]:
    """Headers that large receivers ask for and the mail lacks."""
    mail = BytesParser(policy=policy.default).parsebytes(data, headersonly=True)
    return [name for name in (*ASKED, *(ASKED_OF_LISTS if subscribed else ())) if mail[name] is None]
