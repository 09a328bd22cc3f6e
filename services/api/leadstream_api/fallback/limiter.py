"""The sending limits while Redis is away: a sliding log in this process, pure; times are monotonic seconds.

It starts from the starts that are known: those in the spool and the tokens that Redis had handed out when it was last
seen. Starts by workers after that last look are not known, so around the switch the limit can be passed by as many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from leadstream_events import keys
from leadstream_events.domains import DomainGroups, domain_of, rates_of
from leadstream_events.limits import DomainRates, Rate

GLOBAL = "*"
WARM_UP = keys.WARM_UP.removeprefix(keys.LIMITS)


class LocalLimiter:
    """Counts starts under the global limit and under one per domain."""

    def __init__(
        self,
        rate: Rate | None,
        domains: DomainRates,
        groups: DomainGroups | None = None,
        warm_up: Callable[[], Rate | None] = lambda: None,
    ) -> None:
        """`warm_up` tells the limit of the day, at any time."""
        self._rate, self._domains = rate, domains
        self._groups, self._warm_up = groups or DomainGroups(), warm_up
        self._starts: dict[str, deque[float]] = {}

    def limits_of(self, address: str) -> dict[str, Rate]:
        """The limits that apply to an address, by name."""
        return self._of_all() | rates_of(address, self._domains, self._groups)

    def place_of(self, address: str) -> str:
        """What may be kept of an address so that its limits are found again: `@domain` if that has one, else `@`.

        A domain may be one person's, and whoever sets a limit names the domain himself.
        """
        return f"@{domain_of(address)}" if rates_of(address, self._domains, self._groups) else "@"

    def every_limit(self) -> dict[str, Rate]:
        """Every limit, by name."""
        return self._of_all() | dict(self._domains.by_domain)

    def _of_all(self) -> dict[str, Rate]:
        found = {GLOBAL: self._rate, WARM_UP: self._warm_up()}
        return {name: rate for name, rate in found.items() if rate}

    def replace(self, name: str, starts: list[float]) -> None:
        """Sets what is known of a limit's starts."""
        self._starts[name] = deque(sorted(starts))

    def wait_s(self, address: str, now: float) -> tuple[float, bool]:
        """Seconds until a send to this address may start, 0 for now; and whether only its domain has to wait."""
        longest, of_domain = 0.0, False
        for name, rate in self.limits_of(address).items():
            starts = self._starts.setdefault(name, deque())
            span_s = span_of_s(rate)
            while starts and starts[0] <= now - span_s:
                starts.popleft()
            if len(starts) >= rate.count:
                wait_s = starts[len(starts) - rate.count] + span_s - now
                if wait_s > longest:
                    longest, of_domain = wait_s, name not in (GLOBAL, WARM_UP)
        return longest, of_domain

    def start(self, address: str, now: float) -> None:
        """A send starts."""
        for name in self.limits_of(address):
            self._starts.setdefault(name, deque()).append(now)


def span_of_s(rate: Rate) -> float:
    """How long a start counts: as long as on the stream path (`limits.py`)."""
    return (rate.period_ms + rate.grace_ms) / 1000
