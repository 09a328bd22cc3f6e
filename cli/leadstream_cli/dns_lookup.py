"""Asks DNS for the records of the sending domain, and has them judged (`dns_checks.py`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from leadstream_cli import dns_checks
from leadstream_cli.doctor_checks import Finding
from leadstream_events.settings import Settings
from leadstream_mail.addresses import wire_domain
from leadstream_mail.dkim_keys import keys_of, record_of, zone_line

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

_LIFETIME_S = 5.0


async def examine(settings: Settings, server: tuple[str, int] | None = None) -> list[Finding]:
    """Returns the findings about SPF, DKIM and DMARC, asked of `server` or of the system's resolver.

    Raises `ConfigurationError` for DKIM settings that cannot be used.
    """
    keys = keys_of(settings)
    sender = wire_domain(settings.mail_from.rpartition("@")[2])
    envelope = wire_domain((settings.return_path or settings.mail_from).rpartition("@")[2])
    names = [envelope, f"_dmarc.{sender}", *(f"{key.selector}._domainkey.{key.domain}" for key in keys)]
    resolver = _resolver(server)
    answers = await asyncio.gather(*(_texts(resolver, name) for name in names))
    signed = [
        dns_checks.dkim(name, answer, record_of(key.key), zone_line(key.selector, key.domain, record_of(key.key)))
        for key, name, answer in zip(keys, names[2:], answers[2:], strict=True)
    ]
    return [
        dns_checks.spf(envelope, answers[0]),
        *(signed or [dns_checks.unsigned()]),
        dns_checks.dmarc(sender, answers[1]),
    ]


def _resolver(server: tuple[str, int] | None) -> Resolver | None:
    """None when this system knows no resolver."""
    from dns.asyncresolver import Resolver
    from dns.exception import DNSException

    try:
        resolver = Resolver(configure=server is None)
    except (DNSException, OSError):
        return None
    if server is not None:
        resolver.nameservers, resolver.port = [server[0]], server[1]
    return resolver


async def _texts(resolver: Resolver | None, name: str) -> list[str] | None:
    """The TXT records of a name; None without an answer, an empty list when there are none."""
    from dns.exception import DNSException
    from dns.resolver import NXDOMAIN, NoAnswer

    if resolver is None:
        return None
    try:
        found = await resolver.resolve(name, "TXT", lifetime=_LIFETIME_S)
    except (NXDOMAIN, NoAnswer):
        return []
    except (DNSException, OSError):
        return None
    return [b"".join(record.strings).decode("utf-8", "replace") for record in found]
