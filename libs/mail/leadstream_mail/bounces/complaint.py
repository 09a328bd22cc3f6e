"""Complaints: abuse reports in the format of RFC 5965. Pure."""

from __future__ import annotations

from leadstream_mail.bounces.finding import Finding, ReportClass
from leadstream_mail.bounces.message import Mail, address, headers_in, text
from leadstream_mail.mail_token import HEADER

_REDACTED = ("redacted", "undisclosed", "removed", "hidden")


def read(mail: Mail) -> tuple[Finding, ...]:
    """Returns the complaint, or nothing when the mail is none.

    Whom it is about stands in the report, or in a header that one provider adds to the original; providers that hide
    it leave only what the original says of itself.
    """
    part = mail.first("message/feedback-report")
    if part is None:
        return ()
    report, original = headers_in(part), mail.original
    return (
        Finding(
            ReportClass.COMPLAINT,
            recipient=_known(text(report, "Original-Rcpt-To")) or _known(text(original, "X-HmXmrOriginalRecipient")),
            message_id=text(original, "Message-ID"),
            token=text(original, HEADER),
            feedback_type=(text(report, "Feedback-Type") or "abuse").lower(),
        ),
    )


def _known(value: str | None) -> str | None:
    found = address(value)
    return None if found is None or any(word in found.lower() for word in _REDACTED) else found
