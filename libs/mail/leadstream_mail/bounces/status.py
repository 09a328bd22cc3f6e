"""Which class a failure is: by its enhanced status (RFC 3463), else by what its text says, else by its SMTP code. Pure.

Statuses and codes are used loosely by mail servers, and a class decides whether an address is blocked. So only what
says clearly that the mailbox does not exist is hard; what says that the sender, the content or the pace is at fault is
a block, which is never held against the address; everything else is soft, which takes several reports to count.
"""

from __future__ import annotations

import re

from leadstream_events.suppression_rules import ReportClass

STATUS = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
CODE = re.compile(r"(?:^|;|\bsaid:|\bSMTP error:?)\s*([45]\d\d)\b(?!\.)", re.IGNORECASE)

# RFC 3463 section 3.2 and 3.3, RFC 7505 (null MX), RFC 5248 (account disabled), RFC 7293 (another owner).
_HARD = re.compile(r"5\.1\.(?:1|2|3|6|10)|5\.2\.1|5\.7\.(?:13|17|18)")
# About the sender (RFC 3463 section 3.2), the content (3.7) or a policy (3.8).
_BLOCK = re.compile(r"[45]\.(?:1\.[78]|6\.\d+|7\.\d+)")
# These say too little, so the text beside them is looked at first.
_VAGUE = re.compile(r"[45]\.(?:0\.\d+|1\.0|3\.0|5\.\d+)")

_UNKNOWN_USER = re.compile(
    r"user (?:is )?(?:unknown|not found|doesn'?t exist|does not exist)"
    r"|unknown (?:user|recipient|address|local)|no such (?:user|mailbox|recipient|address|person|account|domain)"
    r"|does ?n[o']t exist|not a valid (?:user|mailbox)|(?:invalid|bad) (?:recipient|mailbox|user)"
    r"|recipient (?:address )?(?:unknown|not found|invalid)|not (?:listed|found) in|no mailbox|no account|no recipient"
    r"|(?:mailbox|account|address|user) (?:has been |is )?(?:disabled|deactivated|closed|suspended|unknown|not found)"
    r"|no longer (?:valid|on server|active|available|works)|unrouteable|host (?:unknown|not found)"
    r"|unable to (?:find|validate) recipient",
    re.IGNORECASE,
)
_FULL = re.compile(
    r"(?:mailbox|quota|storage|inbox|disk)\W.{0,30}(?:full|exceed|over)|over ?quota|quota exceed", re.IGNORECASE
)
_OURS = re.compile(
    r"\bspam|black ?list|block ?list|\bdnsbl|\brbl\b|spamhaus|reputation|policy|\bblocked\b|\bbanned\b"
    r"|\bdmarc\b|\bdkim\b|\bspf\b|rate limit|too (?:many|fast|quickly)|throttl|greylist|unsolicited"
    r"|content (?:rejected|filter)|virus|relay(?:ing)? "
    r"|sender (?:address )?(?:is )?(?:unknown|rejected|verif|not |invalid)|(?:unknown|invalid) sender",
    re.IGNORECASE,
)


def classify(enhanced: str | None, code: int | None, text: str) -> ReportClass:
    """Returns the class of a failure; what is not said is None or empty."""
    if enhanced and not _VAGUE.fullmatch(enhanced):
        if _HARD.fullmatch(enhanced):
            return ReportClass.HARD
        return ReportClass.BLOCK if _BLOCK.fullmatch(enhanced) else ReportClass.SOFT
    lasting = (enhanced or str(code or 5)).startswith("5")
    if _FULL.search(text):
        return ReportClass.SOFT
    if _OURS.search(text):
        return ReportClass.BLOCK
    return ReportClass.HARD if lasting and _UNKNOWN_USER.search(text) else ReportClass.SOFT


def status_in(*texts: str) -> str | None:
    """The first enhanced status in these texts that says something, else the first one."""
    found = [each for text in texts for each in STATUS.findall(text)]
    return next((each for each in found if not _VAGUE.fullmatch(each)), found[0] if found else None)


def code_in(text: str) -> int | None:
    """The SMTP code that a diagnostic begins with."""
    found = CODE.search(text)
    return int(found[1]) if found else None
