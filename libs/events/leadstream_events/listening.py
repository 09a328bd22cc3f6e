"""Addresses that services listen on, and of the mailbox for bounces, as settings write them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_IMAP_PORTS = {"imaps": 993, "imap": 143}
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where mail is taken: a host and port, or with `path` a socket in the file system."""

    protocol: Literal["smtp", "lmtp"]
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        place = self.path or f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        return place if self.protocol == "smtp" else f"lmtp:{place}"


def parse_listen(value: object) -> tuple[Listen, ...]:
    """Returns the addresses in `127.0.0.1:2525,lmtp:/run/x.sock`; empty for `off`. ValueError says what is allowed."""
    if isinstance(value, list | tuple):
        return tuple(item if isinstance(item, Listen) else _listen(str(item)) for item in value)
    text = str(value).strip()
    return () if text.lower() in ("", "off", "none") else tuple(_listen(part.strip()) for part in text.split(","))


def _listen(text: str) -> Listen:
    protocol: Literal["smtp", "lmtp"] = "lmtp" if text.startswith(("lmtp:", "/")) else "smtp"
    place = text.removeprefix("lmtp:").removeprefix("smtp:")
    if place.startswith("/") and protocol == "lmtp":
        return Listen(protocol, path=place)
    match = _HOST_PORT.fullmatch(place)
    if match is None or int(match[2]) > 65_535:
        raise ValueError("must be host:port, lmtp:host:port or lmtp:/path/of/a.sock with commas between, or off")
    return Listen(protocol, match[1].strip("[]"), int(match[2]))


def parse_host_port(value: object) -> tuple[str, int] | None:
    """Returns (host, port) of `127.0.0.1:9100` or `[::1]:9100`; None for `off`. ValueError says what is allowed."""
    text = str(value).strip()
    if value is None or text.lower() in ("", "off", "none"):
        return None
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match[2]) > 65_535:
        raise ValueError("must be host:port, such as 127.0.0.1:9100, or off")
    return match[1].strip("[]"), int(match[2])


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A folder on an IMAP server (RFC 3501)."""

    tls: bool
    host: str
    port: int
    user: str
    folder: str


def split_url(url: str, example: str) -> SplitResult:
    """Returns the parts of a URL; ValueError when host or port cannot be read. Hosts with commas between pass."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"has a host that cannot be read (IPv6 stands in brackets); write it like {example}") from None
    try:
        _ = "," in parts.netloc or parts.port
    except ValueError:
        raise ValueError(f"has a port that is not a number from 0 to 65535; write it like {example}") from None
    return parts


def parse_imap(url: str) -> Mailbox:
    """Returns the mailbox of `imaps://user@host:port/INBOX`; `imap://` without TLS on this machine only.

    ValueError says what is wrong; a password does not belong into the URL.
    """
    parts = split_url(url, "imaps://user@mail.example.com/INBOX")
    if parts.scheme not in _IMAP_PORTS or not parts.hostname or not parts.username:
        raise ValueError("must be imaps://user@host/INBOX")
    if parts.password is not None:
        raise ValueError("must hold no password: put it into a file, BOUNCES_IMAP_PASSWORD_FILE")
    if parts.scheme == "imap" and parts.hostname not in _LOOPBACK:
        raise ValueError("must be imaps://: without TLS the password would be readable on its way")
    folder = unquote(parts.path.strip("/")) or "INBOX"
    if not re.fullmatch(r"[\x20-\x7e]{1,200}", folder) or '"' in folder or "\\" in folder:
        raise ValueError("must name a folder in plain ASCII, as INBOX")
    port = parts.port or _IMAP_PORTS[parts.scheme]
    return Mailbox(parts.scheme == "imaps", parts.hostname, port, unquote(parts.username), folder)
