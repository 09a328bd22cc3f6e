"""Answering machines: mails that a person's absence wrote, and nothing about delivery. Pure."""

from __future__ import annotations

import re

from leadstream_mail.bounces.message import Mail, address

_DAEMON = re.compile(
    r"(?:mailer-?daemon|postmaster|mail[-_. ]?(?:system|delivery)|bounces?|noreply-?dmarc)", re.IGNORECASE
)
_HEADERS = ("X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Auto-Reply-From", "X-Vacation", "X-Mail-Autoreply")
_PRECEDENCE = frozenset(("auto_reply", "auto-reply", "autoreply"))
# The last resort, for machines that say it in no header: the words at the start of their subjects.
_SUBJECT = re.compile(
    r"^\W*(?:auto(?:matic|mated|matische)?[ -]?(?:reply|response|responder|antwort)|out of (?:the )?office|abwesenheit"
    r"|r[ée]ponse automatique|respuesta autom[aá]tica|risposta automatica|vacation\b|on (?:vacation|leave))",
    re.IGNORECASE,
)


def from_a_mail_system(mail: Mail) -> bool:
    """True when the mail claims to be from a mail system, which writes reports and does not go on leave."""
    sender = mail.header("From")
    named = _DAEMON.match(address(sender) or "") or _DAEMON.match(sender.lstrip('"'))
    return named is not None or mail.message["X-Failed-Recipients"] is not None


def is_auto_reply(mail: Mail) -> bool:
    """True for an answer that a machine gave for a person (RFC 3834), and for nothing that a mail system wrote."""
    if from_a_mail_system(mail):
        return False
    if mail.header("Auto-Submitted").lower().startswith("auto-replied"):
        return True
    if any(mail.message[name] is not None for name in _HEADERS):
        return True
    return mail.header("Precedence").lower() in _PRECEDENCE or bool(_SUBJECT.match(mail.subject()))
