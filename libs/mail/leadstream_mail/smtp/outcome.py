"""The closed set of what can become of one send, and the one place where replies are sorted into it.

Everything behind this module branches on these types. The rule that matters most: what is wrong with the session
(DNS, connect, TLS, credentials) is `Unreachable` and never counts against a mail; once the final dot may have been
written, only the server's answer ends the doubt, and without one the outcome is `Unknown`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from leadstream_events.schemas.events import SmtpFailure
from leadstream_mail.smtp.reply import clean_line, enhanced_code


class Phase(StrEnum):
    """How far the dialogue had come (RFC 5321 section 3)."""

    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"


class Cause(StrEnum):
    """Why, as a label for metrics, health and events."""

    DNS = "dns"
    CONNECT = "connect_failed"
    TIMEOUT = "timeout"
    LOST = "connection_lost"
    GARBLED = "garbled_reply"
    SERVER_BUSY = "server_busy"
    SERVER_REFUSES = "server_refuses"
    TLS_NOT_OFFERED = "tls_not_offered"
    TLS_FAILED = "tls_failed"
    AUTH_NOT_OFFERED = "auth_not_offered"
    AUTH_FAILED = "auth_failed"
    AUTH_REQUIRED = "auth_required"
    TOKEN = "token_unavailable"  # noqa: S105 - a label
    SMTPUTF8_NOT_OFFERED = "smtputf8_not_offered"
    TOO_LARGE = "too_large"
    USER_UNKNOWN = "user_unknown"
    MAILBOX_DISABLED = "mailbox_disabled"
    MAILBOX_FULL = "mailbox_full"
    TOO_MANY = "too_many_recipients"
    POLICY = "policy"
    CONTENT = "content"
    REJECTED = "rejected"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server took responsibility (RFC 5321 section 4.2.5). The mail may still bounce."""

    code: int
    reply: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """This mail was not taken now; another attempt may work."""

    failure: SmtpFailure


@dataclass(frozen=True, slots=True)
class Refused:
    """This mail will never be taken as it is."""

    failure: SmtpFailure


@dataclass(frozen=True, slots=True)
class Unknown:
    """The final dot was, or may have been, written and no answer came: the mail may or may not have been taken."""

    failure: SmtpFailure


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No session with the server could be had; no mail is at fault and no attempt was used.

    `pause_s` is the least time to wait before any mail is tried again.
    """

    failure: SmtpFailure
    pause_s: float


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The caller withdrew the mail before its content was sent; nothing was delivered."""


Outcome = Accepted | Deferred | Refused | Unknown | Unreachable | LeaseLost

# Least pauses after which another try can make sense at all, in seconds: configuration seldom mends itself.
_PAUSES = {
    Cause.TLS_NOT_OFFERED: 30.0,
    Cause.TLS_FAILED: 30.0,
    Cause.AUTH_NOT_OFFERED: 30.0,
    Cause.AUTH_FAILED: 30.0,
    Cause.AUTH_REQUIRED: 30.0,
    Cause.SERVER_BUSY: 5.0,
}
_SHORTEST_LOCAL = 3
_SESSION_PHASES = frozenset((Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.TLS, Phase.AUTH))
_CAUSE_BY_DETAIL = {
    **dict.fromkeys(("1.1", "1.2", "1.3", "1.6", "1.10"), Cause.USER_UNKNOWN),
    "2.1": Cause.MAILBOX_DISABLED,
    "2.2": Cause.MAILBOX_FULL,
    "2.3": Cause.TOO_LARGE,
    "3.4": Cause.TOO_LARGE,
    "5.3": Cause.TOO_MANY,
}
_CAUSE_BY_SUBJECT = {"6": Cause.CONTENT, "7": Cause.POLICY}


def failure(phase: Phase, cause: Cause, *, permanent: bool = False, line: str = "") -> SmtpFailure:
    """Returns a failure that no reply code describes."""
    return SmtpFailure(permanent=permanent, phase=phase, line=clean_line(line), cause=cause)


def unreachable(phase: Phase, cause: Cause, line: str = "") -> Unreachable:
    """Returns the outcome of a session that failed without a reply code."""
    return Unreachable(failure(phase, cause, line=line), _PAUSES.get(cause, 1.0))


def from_reply(phase: Phase, command: str, code: int, text: str, *, fresh: bool) -> Deferred | Refused | Unreachable:
    """Sorts a negative reply. `fresh` says that the connection carried no mail before this one."""
    enhanced = enhanced_code(code, text)
    session_cause = _session_cause(phase, code, enhanced, fresh)
    permanent = 500 <= code < 600 and session_cause is None and not _too_many(code, enhanced)
    cause = session_cause or _mail_cause(code, enhanced)
    said = SmtpFailure(
        permanent=permanent,
        phase=phase,
        code=code,
        enhanced=enhanced,
        command=command,
        line=clean_line(text),
        cause=cause,
    )
    if session_cause is not None:
        return Unreachable(said, _PAUSES.get(session_cause, 1.0))
    return Refused(said) if permanent else Deferred(said)


def about_nobody(outcome: Outcome, recipient: str) -> Outcome:
    """The outcome without what servers repeat of the recipient: `clean_line` takes addresses, this the local part."""
    local = recipient.rpartition("@")[0]
    if len(local) < _SHORTEST_LOCAL:  # as a word it means nothing
        return outcome
    match outcome:
        case Accepted(reply=reply):
            return replace(outcome, reply=_without(local, reply))
        case Deferred(failure=said) | Refused(failure=said) | Unknown(failure=said) if said.line:
            line = _without(local, said.line)
            return replace(outcome, failure=said.model_copy(update={"line": line}))
        case _:
            return outcome


def _without(local: str, text: str) -> str:
    # Most replies say nothing of him, and a pattern for each lead's address costs more than what is sent to him.
    if local.isascii() and text.isascii() and local.lower() not in text.lower():
        return text
    return re.sub(rf"(?<![^\W_]){re.escape(local)}(?![^\W_])", "<address>", text, flags=re.IGNORECASE)


def _session_cause(phase: Phase, code: int, enhanced: str | None, fresh: bool) -> Cause | None:
    """The cause if the reply is about the session, or None if it is about the mail."""
    if phase is Phase.AUTH and code >= 500:
        return Cause.AUTH_FAILED
    if phase is Phase.TLS:
        return Cause.TLS_FAILED
    if phase in _SESSION_PHASES:
        return Cause.SERVER_BUSY if code < 500 else Cause.SERVER_REFUSES
    if phase is Phase.MAIL:
        if code in (530, 535) or (code >= 500 and enhanced == "5.7.0"):
            return Cause.AUTH_REQUIRED
        if code == 421 and fresh:
            return Cause.SERVER_BUSY
    return None


def _too_many(code: int, enhanced: str | None) -> bool:
    """552 5.5.3 is the old spelling of 452 4.5.3 (RFC 5321 section 4.5.3.1.10, case 050)."""
    return code == 552 and enhanced == "5.5.3"


def _mail_cause(code: int, enhanced: str | None) -> Cause:
    if enhanced is not None:
        _, subject, detail = enhanced.split(".")
        known = _CAUSE_BY_DETAIL.get(f"{subject}.{detail}") or _CAUSE_BY_SUBJECT.get(subject)
        if known is not None:
            return known
    if code == 552:
        return Cause.MAILBOX_FULL
    return Cause.REJECTED if code >= 500 else Cause.DEFERRED
