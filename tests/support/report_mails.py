"""Mails that come back, as mail servers and mailbox providers write them (RFC 3464, RFC 5965)."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.sent_mail import SentMail


def dsn(
    to: str,
    recipient: str | None,
    *,
    status: str | None = "5.1.1",
    diagnostic: str | None = "smtp; 550 5.1.1 no such user",
    action: str = "failed",
    original: Mapping[str, str] | None = None,
    message_id: str = "<report-1@mx.example.test>",
    per_recipient: str = "",
) -> bytes:
    """A delivery status notification about one recipient, with the header of the original mail."""
    fields = [per_recipient] if per_recipient else []
    fields += [f"Final-Recipient: rfc822; {recipient}"] if recipient else []
    fields += [f"Action: {action}"]
    fields += [f"Status: {status}"] if status else []
    fields += [f"Diagnostic-Code: {diagnostic}"] if diagnostic else []
    headers = [f"{name}: {value}" for name, value in (original or {}).items()]
    lines = [
        "From: MAILER-DAEMON@mx.example.test (Mail Delivery System)",
        f"To: {to}",
        "Subject: Undelivered Mail Returned to Sender",
        "Auto-Submitted: auto-replied",
        *([f"Message-ID: {message_id}"] if message_id else []),
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b1"',
        "",
        "--b1",
        "Content-Type: text/plain",
        "",
        "notice",
        "--b1",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; mx.example.test",
        "",
        *fields,
        "",
        "--b1",
        "Content-Type: text/rfc822-headers",
        "",
        *headers,
        "",
        "--b1--",
        "",
    ]
    return "\r\n".join(lines).encode()


def complaint(
    to: str, *, feedback_type: str = "abuse", original: Mapping[str, str] | None = None, recipient: str | None = None
) -> bytes:
    """A complaint of a feedback loop; many providers say nothing but what the original mail says."""
    headers = [f"{name}: {value}" for name, value in (original or {}).items()]
    lines = [
        "From: staff@fbl.example.test",
        f"To: {to}",
        "Subject: complaint about message from 192.0.2.10",
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b1"',
        "",
        "--b1",
        "Content-Type: text/plain",
        "",
        "report",
        "--b1",
        "Content-Type: message/feedback-report",
        "",
        f"Feedback-Type: {feedback_type}",
        "User-Agent: JMRP/1.0",
        "Version: 1",
        *([f"Original-Rcpt-To: {recipient}"] if recipient else []),
        "",
        "--b1",
        "Content-Type: message/rfc822",
        "",
        *headers,
        "Subject: New lead",
        "",
        "body",
        "--b1--",
        "",
    ]
    return "\r\n".join(lines).encode()


def headers_of(mail: SentMail, **more: str) -> dict[str, str]:
    """Header fields of the original mail, as far as a report needs them."""
    return {"Message-ID": mail.message_id, "To": mail.address, **{k.replace("_", "-"): v for k, v in more.items()}}
