"""Domains that asked for fewer mails: how many they get now. Pure.

A reply that names rate or reputation halves the domain's rate (`lua/slow.lua`); after that it gains a little every
minute, until nothing holds it back any more. Nothing is written on the way up: the rate follows from the time that
has passed.
"""

from __future__ import annotations

from dataclasses import dataclass

# Mails per minute: what a domain without a limit of its own gets after its first such reply, the least it ever gets,
# what it gains every minute, and where it is over. So a domain is free again within an hour of its last such reply.
FIRST, LEAST, GAIN, OVER = 30.0, 1.0, 2.0, 120.0
# The mails under way when a domain asks for fewer are answered the same: they do not count again.
SETTLE_MS = 10_000


@dataclass(frozen=True, slots=True)
class SlowDown:
    """A domain got `per_minute` mails a minute at `at_ms` of the server's clock."""

    per_minute: float
    at_ms: int

    def rate_at(self, now_ms: float) -> float | None:
        """Mails per minute at `now_ms`; None once it is over."""
        risen = self.per_minute + GAIN * max(0.0, now_ms - self.at_ms) / 60_000
        return risen if risen < OVER else None

    def over_in_s(self, now_ms: float) -> float:
        """Seconds until nothing holds the domain back, if it does not ask again."""
        rate = self.rate_at(now_ms)
        return 0.0 if rate is None else (OVER - rate) / GAIN * 60
