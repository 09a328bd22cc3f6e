"""What a consumer decides, as pure functions of what it sees and of the time it is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from leadstream_events.errors import RedisCause
from leadstream_events.keys import PARKED

_LOST_REPLY_S = 1.0


@dataclass(frozen=True, slots=True)
class ConsumerPolicy:
    """How a consumer reads, leases and gives up. Times are seconds.

    `resume_grace_s`: how long it leaves entries alone after Redis was away, so that what was spooled meanwhile can be
    merged first (docs/decisions/0007-fallback.md).
    `stalled_s`: a consumer that has had entries to do and finished none for this long is not ready.
    `linger_s`: how long it lets the next batch gather after a small one.
    """

    lease_s: float = 60.0
    max_deliveries: int = 10
    batch: int = 100
    block_s: float = 2.0
    drain_s: float = 10.0
    backoff_min_s: float = 0.1
    backoff_max_s: float = 5.0
    silence_s: float = 10.0
    stalled_s: float = 60.0
    resume_grace_s: float = 0.0
    linger_s: float = 0.0

    @property
    def renew_every_s(self) -> float:
        """A third of the lease: two renewals may fail before an entry counts as an orphan."""
        return self.lease_s / 3

    @property
    def claim_every_s(self) -> float:
        """How often orphans are looked for; bounds how long after its lease an orphan waits."""
        return min(self.lease_s / 4, 2.0)

    @property
    def forget_consumers_after_s(self) -> float:
        """Idle time after which a consumer that owns nothing is removed."""
        return max(2 * self.lease_s, 10.0)

    def idle_s(self, *, own: bool) -> float:
        """How long an entry must have lain idle to count as an orphan.

        An entry of one's `own` that one does not know of is never waited for: nobody works on it, since the reply that
        handed it over was lost. A second only keeps away from replies that are under way.
        """
        return min(self.lease_s, _LOST_REPLY_S) if own else self.lease_s


class Claim(StrEnum):
    """What to do with a pending entry of somebody else."""

    CLAIM = "claim"
    DEAD_LETTER = "dead_letter"
    LEAVE = "leave"


def decide_claim(consumer: str, idle_s: float, deliveries: int, policy: ConsumerPolicy, *, own: bool = False) -> Claim:
    """An entry idle past its lease is an orphan; one delivered too often without ever finishing is poison.

    `own`: it is one's own, yet unknown to one. Parked entries are nobody's orphans: they wait in `due`.
    """
    if consumer == PARKED or idle_s < policy.idle_s(own=own):
        return Claim.LEAVE
    return Claim.DEAD_LETTER if deliveries >= policy.max_deliveries else Claim.CLAIM


def backoff_s(failures: int, policy: ConsumerPolicy, jitter: float) -> float:
    """Seconds to wait after the n-th failure in a row (from 1); `jitter` is in [0, 1)."""
    full = min(policy.backoff_max_s, policy.backoff_min_s * 2.0 ** min(failures - 1, 16))
    return full * (0.5 + jitter / 2)


def was_away(cause: RedisCause) -> bool:
    """True when nobody could store anything meanwhile, so that others may have spooled."""
    return cause in (RedisCause.DOWN, RedisCause.TIMEOUT, RedisCause.LOADING, RedisCause.READONLY)


def needs_new_connections(cause: RedisCause) -> bool:
    """True when the server behind the connection is the wrong one, or gone: the address is resolved again."""
    return cause in (RedisCause.READONLY, RedisCause.DOWN, RedisCause.TIMEOUT)


def is_silent(now_s: float, last_read_s: float, lag: int, policy: ConsumerPolicy) -> bool:
    """True when entries wait and nothing was read for too long: the loop has lost its way."""
    return lag > 0 and now_s - last_read_s > policy.silence_s


def is_stalled(now_s: float, since_s: float | None, progress_s: float, policy: ConsumerPolicy) -> bool:
    """True when entries have waited since `since_s` (None: none do), and none was finished for too long."""
    return since_s is not None and now_s - max(since_s, progress_s) > policy.stalled_s


def consumer_name(service: str, host: str, boot_id: str) -> str:
    """A name no other process ever had: a reused one would inherit strangers' pending entries."""
    safe = "".join(char if char.isalnum() or char in "-." else "-" for char in host)[:40]
    return f"{service}-{safe}-{boot_id}"
