"""Recipient domains: which of them count as one, and how many mails at a time each gets. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from leadstream_events.limits import DomainRates, Rate

EVERY = "*"
# Domains that one operator receives mail for, and the names of its MX hosts: what one of them says of us, all do.
WELL_KNOWN = (
    "google=gmail.com|googlemail.com|*.google.com|*.googlemail.com,"
    "microsoft=outlook.com|hotmail.com|live.com|msn.com|*.outlook.com|*.hotmail.com,"
    "yahoo=yahoo.com|ymail.com|rocketmail.com|aol.com|*.yahoodns.net,"
    "apple=icloud.com|me.com|mac.com|*.icloud.com"
)
_GROUP = re.compile(r"[a-z][a-z0-9-]{0,31}")
_PATTERN = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+")


def domain_of(address: str) -> str:
    """The domain of an address, in lower case."""
    return address.rpartition("@")[2].lower()


@dataclass(frozen=True, slots=True)
class DomainGroups:
    """Groups of domains. `exact`: domain to group; `suffixes`: `.google.com` to group."""

    exact: Mapping[str, str] = field(default_factory=dict)
    suffixes: Mapping[str, str] = field(default_factory=dict)

    def of(self, domain: str) -> str:
        """The group of a domain (or of an MX host), or the domain itself."""
        if found := self.exact.get(domain):
            return found
        return next((group for suffix, group in self.suffixes.items() if domain.endswith(suffix)), domain)

    def __str__(self) -> str:
        patterns: dict[str, list[str]] = {}
        for pattern, group in (*self.exact.items(), *((f"*{each}", name) for each, name in self.suffixes.items())):
            patterns.setdefault(group, []).append(pattern)
        return ",".join(f"{group}={'|'.join(each)}" for group, each in patterns.items()) or "off"


def parse_groups(value: object) -> DomainGroups:
    """Reads `google=gmail.com|*.google.com,other=...`, or `off`; ValueError names the accepted form."""
    if isinstance(value, DomainGroups):
        return value
    text = str(value or "").strip().lower()
    exact: dict[str, str] = {}
    suffixes: dict[str, str] = {}
    for part in filter(str.strip, "" if text == "off" else text.split(",")):
        name, _, patterns = (each.strip() for each in part.partition("="))
        for pattern in (each.strip() for each in patterns.split("|")):
            if not _GROUP.fullmatch(name) or not _PATTERN.fullmatch(pattern):
                raise ValueError("must be off, or groups such as google=gmail.com|*.google.com,example=example.org")
            if pattern.startswith("*"):
                suffixes[pattern[1:]] = name
            else:
                exact[pattern] = name
    return DomainGroups(exact, suffixes)


@dataclass(frozen=True, slots=True)
class DomainCounts:
    """How many mails at a time go to a domain or group, from all workers together."""

    by_name: Mapping[str, int] = field(default_factory=dict)

    def of(self, domain: str, group: str) -> dict[str, int]:
        """The counts that apply, by the name under which they are kept; `*` is for each group of its own."""
        found = {name: self.by_name[name] for name in (domain, group) if name in self.by_name}
        if not found and EVERY in self.by_name:
            return {group: self.by_name[EVERY]}
        return found

    def __str__(self) -> str:
        return ",".join(f"{name}={count}" for name, count in self.by_name.items())


def parse_counts(value: object) -> DomainCounts:
    """Reads `gmail.com=4,google=8,*=10`; ValueError names the accepted form."""
    if isinstance(value, DomainCounts):
        return value
    counts: dict[str, int] = {}
    for part in filter(str.strip, str(value or "").split(",")):
        name, _, count = (each.strip() for each in part.partition("="))
        if not name or not re.fullmatch(r"[1-9][0-9]{0,3}", count):
            raise ValueError("must be domain=number pairs, the numbers from 1 to 9999, such as gmail.com=4,*=10")
        counts[name.lower()] = int(count)
    return DomainCounts(counts)


def rates_of(address: str, rates: DomainRates, groups: DomainGroups) -> dict[str, Rate]:
    """The limits that an address's domain and its group have, by name."""
    if not rates.by_domain:
        return {}
    domain = domain_of(address)
    return {name: rates.by_domain[name] for name in (domain, groups.of(domain)) if name in rates.by_domain}
