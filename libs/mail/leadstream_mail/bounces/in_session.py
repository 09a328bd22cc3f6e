"""What a refusal in session says of the recipient: by the same rules as a report that comes later. Pure."""

from __future__ import annotations

import re

from leadstream_events.schemas.events import SmtpFailure
from leadstream_events.suppression_rules import ReportClass
from leadstream_mail.bounces.status import classify
from leadstream_mail.smtp.outcome import Phase

# RFC 3463 sections 3.2 and 3.3: about the address or the mailbox, also when it comes after the content.
_OF_THE_RECIPIENT = re.compile(r"[45]\.[12]\.\d+")


def refusal_class(failure: SmtpFailure | None) -> ReportClass | None:
    """Returns `HARD` or `SOFT`, or None when the failure is not about the recipient.

    Only the answer to RCPT is about him (RFC 5321 section 3.3); a later one only with a status that says so. Sender,
    content, policy and pace are ours, and what no server answered says nothing of anybody.
    """
    if failure is None or failure.code is None:
        return None
    late = failure.phase in (Phase.DATA, Phase.BODY) and _OF_THE_RECIPIENT.fullmatch(failure.enhanced or "")
    if failure.phase != Phase.RCPT and not late:
        return None
    found = classify(failure.enhanced, failure.code, failure.line)
    return None if found is ReportClass.BLOCK else found
