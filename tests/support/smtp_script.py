"""What the fault server does and what it saw, as values."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

PHASES = ("connect", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body", "rset", "quit", "noop")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. `drop` closes instead of replying, `close` after it. `raw` goes out byte for byte.

    At the phase `body` the mail is recorded if the code is 2xx or `store` is set, at once and before `delay_s`.
    """

    code: int = 250
    text: bytes | str = "2.0.0 ok"
    delay_s: float = 0.0
    drop: bool = False
    close: bool = False
    store: bool = False
    raw: bytes | None = None

    def wire(self) -> bytes:
        """The bytes on the wire; a line feed in the text makes a multi-line reply (RFC 5321 section 4.2.1)."""
        if self.raw is not None:
            return self.raw
        text = self.text.encode() if isinstance(self.text, str) else self.text
        lines = text.split(b"\n")
        code = str(self.code).encode()
        return b"".join(code + b"-" + line + b"\r\n" for line in lines[:-1]) + code + b" " + lines[-1] + b"\r\n"


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a dialogue stands: connections and mails of a connection are counted from 1."""

    phase: str
    connection: int
    mail: int
    argument: bytes


@dataclass(slots=True)
class Fault:
    """Replies `reply` at a phase, `times` times (None: always), where the filters match."""

    phase: str
    reply: Reply
    times: int | None = 1
    connection: int | None = None
    mail: int | None = None
    argument: bytes = b""

    def take(self, moment: Moment) -> Reply | None:
        """The reply if this fault applies now; counts down."""
        matches = (
            self.phase == moment.phase
            and self.times != 0
            and self.connection in (None, moment.connection)
            and self.mail in (None, moment.mail)
            and self.argument in moment.argument
        )
        if not matches:
            return None
        if self.times is not None:
            self.times -= 1
        return self.reply


@dataclass(slots=True)
class Script:
    """How the server behaves; change it while it runs."""

    extensions: tuple[str, ...] = ("SIZE 35882577", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "PIPELINING")
    faults: list[Fault] = field(default_factory=list)
    decide: Callable[[Moment], Reply | None] | None = None
    users: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    auth_methods: str = "PLAIN LOGIN XOAUTH2"
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    idle_421_s: float | None = None
    close_after_mails: int | None = None
    max_connections: int | None = None
    greylist_s: float | None = None
    lenient_end: bool = False
    keep_data: bool = True

    def reply_at(self, moment: Moment) -> Reply | None:
        """The scripted reply, or None for the ordinary one."""
        if self.decide is not None and (reply := self.decide(moment)) is not None:
            return reply
        for fault in self.faults:
            if (reply := fault.take(moment)) is not None:
                return reply
        return None


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it arrived, dots unstuffed. `data` is empty where only counts are kept."""

    monotonic_s: float
    wall_s: float
    connection: int
    mail_from: str
    mail_options: str
    recipients: tuple[str, ...]
    data: bytes
    message_id: str
    bare_breaks: int
