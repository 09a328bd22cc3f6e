"""Whether a server asks for fewer mails: pure, over reply code, enhanced status code (RFC 3463) and text.

Only what passes by itself counts (4yz, RFC 5321 section 4.2.1). A full mailbox, a mail with too many recipients and
greylisting say nothing about how fast mails come.
"""

from __future__ import annotations

import re

from leadstream_events.schemas.events import SmtpFailure

_CODES = frozenset((421, 450, 451, 452, 454))
# Status codes that large providers document for rate or reputation; the plain 4.7.x need words beside them.
_STATUS = frozenset(("4.7.28", "4.7.32", "4.7.500", "4.7.650", "4.7.651", "4.7.652"))
_OTHER_STATUS = frozenset(("4.2.2", "4.3.1", "4.5.3"))
_OTHER_WORDS = re.compile(
    r"gr[ae]y-?list|(mailbox|disk|storage|account)\W.{0,30}(full|quota)|over quota|too many recipients", re.IGNORECASE
)
_WORDS = re.compile(
    r"rate\W{0,3}(is\W)?(limit|control|exceed)|\b(sending|message|mail|connection)s? rate\b|at a rate|unusual rate"
    r"|throttl|too (many|much|quickly|fast)|slow(ing)? down|reputation|\btss0\d\b|unexpected volume|user complaints"
    r"|(exceed|reach)(ed|s)?\W.{0,40}\b(limit|quota|rate)|unsolicited|suspicious|block-?list|black-?list",
    re.IGNORECASE,
)


def asks_to_slow_down(failure: SmtpFailure) -> bool:
    """True for a reply that names the rate or the reputation of the sender."""
    if failure.code not in _CODES or failure.enhanced in _OTHER_STATUS or _OTHER_WORDS.search(failure.line):
        return False
    return failure.enhanced in _STATUS or bool(_WORDS.search(failure.line))
