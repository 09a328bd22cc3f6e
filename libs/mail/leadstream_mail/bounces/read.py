"""What a mail that came in says about mails of ours.

The shapes are tried from the strictest to the loosest: complaints (RFC 5965) and delivery status notifications
(RFC 3464), then answering machines (RFC 3834), then reports in words.
"""

from __future__ import annotations

from leadstream_mail.bounces import complaint, dsn, prose
from leadstream_mail.bounces.auto_reply import is_auto_reply
from leadstream_mail.bounces.finding import Finding, ReportClass
from leadstream_mail.bounces.message import parse


def read_report(raw: bytes) -> tuple[Finding, ...]:
    """Returns one finding per reported recipient, and never raises; a mail that is no report gives one that says so.

    Nothing in a finding is proven: anybody can write such a mail. Reads the first MiB.
    """
    try:
        found = _read(raw)
    except Exception:  # hostile bytes reach bugs of the parsers; whoever gets such a mail keeps it for a person
        found = ()
    return found or (Finding(ReportClass.NOT_A_BOUNCE),)


def _read(raw: bytes) -> tuple[Finding, ...]:
    mail = parse(raw)
    found = complaint.read(mail) or dsn.read(mail)
    if found:
        return found
    return (Finding(ReportClass.AUTO_REPLY),) if is_auto_reply(mail) else prose.read(mail)
