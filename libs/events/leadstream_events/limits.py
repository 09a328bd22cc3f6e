"""Sending limits as values: parsing, and what a token is good for.

The window is a sliding log on the server's clock (`lua/take.lua`). A token is valid for `grace_ms` after it was
asked for; the window is kept `grace_ms` longer than the limit's own. So in no window of the limit's length do more
than `count` sends *start*, whatever the delay between the grant and the start was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_PERIODS_MS = {"s": 1_000, "min": 60_000, "h": 3_600_000}
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` starts in any `period_ms` milliseconds."""

    count: int
    period_ms: int

    @property
    def grace_ms(self) -> int:
        """How long a granted token may wait for its start: 2 % of the period, 50 ms to 1 s."""
        return max(50, min(1_000, self.period_ms // 50))

    def __str__(self) -> str:
        unit = {ms: name for name, ms in (*_PERIODS_MS.items(), ("day", DAY_MS))}[self.period_ms]
        return f"{self.count}/{unit}"


@dataclass(frozen=True, slots=True)
class DomainRates:
    """Limits per recipient domain, beside the global one."""

    by_domain: Mapping[str, Rate] = field(default_factory=dict)

    def of(self, address: str) -> tuple[str, Rate] | None:
        """The domain and its limit for this address, if it has one."""
        domain = address.rpartition("@")[2].lower()
        rate = self.by_domain.get(domain)
        return (domain, rate) if rate else None

    def __str__(self) -> str:
        return ",".join(f"{domain}={rate}" for domain, rate in self.by_domain.items())


def parse_rate(value: object) -> Rate | None:
    """Reads `off`, `50/min`, `10/s`, `1000/h`; ValueError names the accepted forms."""
    if value is None or isinstance(value, Rate):
        return value
    text = str(value).strip().lower()
    if text in ("off", "none", ""):
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,6})\s*/\s*(s|min|h)", text)
    if not match:
        raise ValueError("must be off, or a number above 0 per s, min or h, such as 50/min")
    return Rate(int(match[1]), _PERIODS_MS[match[2]])


def parse_domain_rates(value: object) -> DomainRates:
    """Reads `gmail.com=20/min,example.org=5/s`."""
    if isinstance(value, DomainRates):
        return value
    pairs = value.items() if isinstance(value, Mapping) else _pairs(str(value or ""))
    rates: dict[str, Rate] = {}
    for domain, text in pairs:
        rate = parse_rate(text)
        if domain.strip() in ("", "*") or rate is None:
            raise ValueError("must be domain=limit pairs such as gmail.com=20/min,example.org=5/s")
        rates[domain.strip().lower()] = rate
    return DomainRates(rates)


def _pairs(text: str) -> list[tuple[str, str]]:
    out = []
    for part in filter(str.strip, text.split(",")):
        domain, _, rate = part.partition("=")
        out.append((domain, rate))
    return out
