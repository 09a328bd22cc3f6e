"""Which limits apply to a mail, as `take.lua` sees them: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from leadstream_events import keys
from leadstream_events.domains import DomainCounts, DomainGroups, domain_of, rates_of
from leadstream_events.limits import DomainRates, Rate
from leadstream_events.settings import Settings
from leadstream_events.slow_down import SlowDown
from leadstream_events.warm_up import limit_on
from leadstream_mailer.tokens import GLOBAL

_PACE_GRACE_MS = 1_000


@dataclass(frozen=True, slots=True)
class Bound:
    """At most `count` tokens in any `span_ms`. `of_domain`: the mails of others may go ahead of those that wait.

    `comes_back`: it counts mails that are being sent, and its token is returned when the send has ended.
    """

    key: str
    count: int
    span_ms: int
    grace_ms: int
    of_domain: bool = True
    comes_back: bool = False


def _window(key: str, rate: Rate, *, of_domain: bool) -> Bound:
    return Bound(key, rate.count, rate.period_ms + rate.grace_ms, rate.grace_ms, of_domain)


@dataclass(frozen=True, slots=True)
class Care:
    """What is set about limits. `lease_s`: how long a place of a worker that died stays taken."""

    rate: Rate | None = None
    domains: DomainRates = field(default_factory=DomainRates)
    counts: DomainCounts = field(default_factory=DomainCounts)
    groups: DomainGroups = field(default_factory=DomainGroups)
    warm_up_start: date | None = None
    warm_up: tuple[int, ...] = ()
    slow_down: bool = True
    lease_s: float = 60.0

    @property
    def limits(self) -> bool:
        """Whether any mail may have a limit, slow-downs aside."""
        return bool(self.rate or self.domains.by_domain or self.counts.by_name or self.warm_up_start)

    def bounds_of(self, address: str, now: datetime, slowed: Mapping[str, SlowDown], server_ms: float) -> list[Bound]:
        """Every limit of a mail to this address."""
        domain = domain_of(address)
        group = self.groups.of(domain)
        out = [_window(keys.LIMITS + GLOBAL, self.rate, of_domain=False)] if self.rate else []
        if warm_up := limit_on(self.warm_up_start, self.warm_up, now):
            out.append(_window(keys.WARM_UP, warm_up, of_domain=False))
        for name, rate in rates_of(address, self.domains, self.groups).items():
            out.append(_window(keys.LIMITS + name, rate, of_domain=True))
        if group in slowed and (per_minute := slowed[group].rate_at(server_ms)):
            out.append(Bound(keys.PACE + group, 1, int(60_000 / per_minute), _PACE_GRACE_MS))
        lease_ms = int(self.lease_s * 1000)
        for name, count in self.counts.of(domain, group).items():
            out.append(Bound(keys.PLACES + name, count, lease_ms, lease_ms // 10, comes_back=True))
        return out

    def first_rate(self, address: str, usual: float) -> float:
        """Mails per minute after a first request for fewer: half of the least limit the address has, or the usual."""
        rates = rates_of(address, self.domains, self.groups).values()
        return min([usual, *(rate.count * 60_000 / rate.period_ms / 2 for rate in rates)])


def care_of(settings: Settings) -> Care:
    """What the settings say."""
    return Care(
        settings.rate_limit,
        settings.rate_limit_domains,
        settings.concurrency_domains,
        settings.mx_groups,
        settings.warm_up_start,
        settings.warm_up,
        settings.slow_down,
        settings.lease,
    )
