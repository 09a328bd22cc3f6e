"""Reports in words: what mail servers wrote before RFC 3464, and some still do. flufl.bounce knows their shapes.

The words of such a report give the class (`status.py`). flufl.bounce is an optional part (the extra `bounces`): without
it only the header `X-Failed-Recipients` is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import getaddresses

from leadstream_mail.bounces.auto_reply import from_a_mail_system
from leadstream_mail.bounces.finding import Finding, ReportClass
from leadstream_mail.bounces.message import Mail, text
from leadstream_mail.bounces.status import classify, code_in, status_in
from leadstream_mail.mail_token import HEADER

# "The group may not exist, or you may not have permission": nobody knows which, so it is no proof that nobody is there.
_DOUBTFUL = "may not exist"
_DETAIL = 500


def read(mail: Mail) -> tuple[Finding, ...]:
    """Returns one finding per failed recipient that the words name; a warning of a delay is no bounce."""
    named = [
        found for _, found in getaddresses(map(str, mail.message.get_all("X-Failed-Recipients", []))) if "@" in found
    ]
    delayed, failed = ([], named) if named else _by_shape(mail)
    said = mail.prose()
    kind = _class(said)
    return (
        *(_finding(mail, each, kind, said) for each in failed),
        *(_finding(mail, each, ReportClass.NOT_A_BOUNCE, said) for each in delayed),
    )


def _by_shape(mail: Mail) -> tuple[list[str], list[str]]:
    """(delayed, failed) recipients."""
    try:
        from flufl.bounce import all_failures
    except ImportError:
        return [], []
    delayed, failed = all_failures(mail.message)
    return _texts(delayed - failed), _texts(failed)


def _texts(found: Iterable[bytes]) -> list[str]:
    return sorted(each.decode("ascii", "replace") for each in found)


def _class(said: str) -> ReportClass:
    found = classify(status_in(said), code_in(said), said)
    return ReportClass.SOFT if found is ReportClass.HARD and _DOUBTFUL in said.lower() else found


def _finding(mail: Mail, recipient: str, kind: ReportClass, said: str) -> Finding:
    return Finding(
        kind,
        recipient=recipient,
        message_id=text(mail.original, "Message-ID"),
        token=text(mail.original, HEADER),
        code=code_in(said),
        enhanced=status_in(said),
        detail=" ".join(said.split())[:_DETAIL] if from_a_mail_system(mail) else "",
    )
