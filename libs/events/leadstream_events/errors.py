"""The catalogue of what can go wrong, classified once at the edge.

A consumer knows four kinds under `LeadstreamError` and branches on the type, never on the text:
`Transient` (try again later), `Permanent` (never will work), `Malformed` (the entry itself is broken) and
`Backpressure` (Redis cannot take work now). Anything else is a bug: it is logged and, once it is alone in its
batch, dead-lettered.

No message of these errors carries personal data: they end up in logs.
"""

from __future__ import annotations

from enum import StrEnum


class LeadstreamError(Exception):
    """Base of every error that leadstream raises on purpose."""


class Transient(LeadstreamError):
    """Worth another attempt, `retry_after_s` seconds from now."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Permanent(LeadstreamError):
    """Will never work as it is; the entry becomes a dead letter with this cause."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        self.detail = detail


class Malformed(Permanent):
    """The stored entry cannot be read: bytes, fields, or a version from the future."""


class RedisCause(StrEnum):
    """Why Redis cannot take work: the closed set that health, metrics and logs use."""

    DOWN = "down"
    TIMEOUT = "timeout"
    LOADING = "loading"
    READONLY = "readonly"
    OOM = "out_of_memory"
    MISCONF = "misconf"
    NOGROUP = "nogroup"
    WRONGTYPE = "wrongtype"
    AUTH = "auth"
    NOPERM = "noperm"
    TLS = "tls"
    CLUSTERDOWN = "clusterdown"
    BUSY = "busy_script"
    OTHER = "error"


class Backpressure(LeadstreamError):
    """Redis cannot take work now. Whether the refused command ran is unknown for `DOWN` and `TIMEOUT`."""

    def __init__(self, cause: RedisCause, detail: str = "") -> None:
        super().__init__(f"redis {cause.value}" + (f": {detail}" if detail else ""))
        self.cause = cause
        self.detail = detail


class ConfigurationError(LeadstreamError):
    """A setting is wrong; the text names the setting and the mend."""


class Conflict(LeadstreamError):
    """The same idempotency key, unique address or version was used for something else."""


class ArchiveUnavailable(LeadstreamError):
    """The archive is damaged or does not answer: what it holds is not shown as if it were not there."""


class NotFound(LeadstreamError):
    """What was asked for is not there."""
