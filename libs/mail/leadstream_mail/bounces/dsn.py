"""Delivery status notifications (RFC 3464). Pure."""

from __future__ import annotations

from email.message import Message

from leadstream_mail.bounces.finding import Finding, ReportClass
from leadstream_mail.bounces.message import Mail, address, headers_in, text
from leadstream_mail.bounces.status import classify, code_in, status_in
from leadstream_mail.mail_token import HEADER

# RFC 3464 section 2.3.3. Anything else is meant for a failure: some servers write `failure` or `error`.
_NO_FAILURES = ("delayed", "delivered", "relayed", "expanded")


def read(mail: Mail) -> tuple[Finding, ...]:
    """Returns one finding per recipient that the notification names; none when it is no such notification."""
    blocks = [
        block
        for part in mail.parts
        if part.get_content_type() in ("message/delivery-status", "message/global-delivery-status")
        for block in _blocks(part)
    ]
    return tuple(_finding(block, mail.original) for block in blocks if _names_somebody(block))


def _blocks(part: Message) -> list[Message]:
    payload = part.get_payload()
    if not isinstance(payload, list):  # encoded, against RFC 3464 section 2.1, so the parser has left it alone
        return [headers_in(part)]
    return [block for block in payload if isinstance(block, Message)]


def _names_somebody(block: Message) -> bool:
    return block["Final-Recipient"] is not None or block["Original-Recipient"] is not None


def _finding(block: Message, original: Message | None) -> Finding:
    diagnostic = text(block, "Diagnostic-Code") or ""
    said = diagnostic.partition(";")[2].strip() or diagnostic
    enhanced, code = status_in(text(block, "Status") or "", diagnostic), code_in(diagnostic)
    final, wanted = address(text(block, "Final-Recipient")), address(text(block, "Original-Recipient"))
    return Finding(
        _class(block, enhanced, code, said, elsewhere=_elsewhere(final, wanted)),
        recipient=wanted or final,
        message_id=text(original, "Message-ID"),
        token=text(original, HEADER),
        code=code,
        enhanced=enhanced,
        detail=said,
    )


def _class(block: Message, enhanced: str | None, code: int | None, said: str, *, elsewhere: bool) -> ReportClass:
    """A delay is no failure: when it is over for good, another notification tells."""
    if (text(block, "Action") or "").lower().startswith(_NO_FAILURES) or (enhanced or "5").startswith("2"):
        return ReportClass.NOT_A_BOUNCE
    found = classify(enhanced, code, said)
    return ReportClass.SOFT if elsewhere and found is ReportClass.HARD else found


def _elsewhere(final: str | None, wanted: str | None) -> bool:
    """True when an alias or a forward led to somebody else: that one is dead, and not the address we know.

    A server that only replaces the domain still means the same mailbox.
    """
    if final is None or wanted is None:
        return False
    return final.rpartition("@")[0].casefold() != wanted.rpartition("@")[0].casefold()
