"""Turns a stored address into the spelling that goes on the wire.

Domains become A-labels (IDNA 2008 after UTS 46 mapping, as email-validator accepted them); a local part outside
ASCII stays and needs SMTPUTF8 (RFC 6531). What cannot be written safely is `Permanent`, never an exception of a
library (case 013).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import idna

from leadstream_events.errors import Permanent

# A dot-atom (RFC 5322 section 3.2.3) widened by RFC 6532 to everything outside ASCII that is no blank or control.
_LOCAL = re.compile(
    r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u00a1-\U0010ffff]+(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u00a1-\U0010ffff]+)*"
)
_UNSAFE = re.compile(r"[\s\u0080-\u00a0\u2028\u2029\ud800-\udfff]")
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class WireAddress:
    """An address as SMTP and headers write it; `needs_smtputf8` if its local part is not ASCII."""

    text: str
    needs_smtputf8: bool


@lru_cache(maxsize=8192)
def wire_address(address: str) -> WireAddress:
    """Returns the address for the wire; `Permanent("unsendable_address")` if it has no safe spelling."""
    local, at, domain = address.rpartition("@")
    if not at or not _LOCAL.fullmatch(local) or _UNSAFE.search(local):
        raise Permanent("unsendable_address", "the local part cannot be written in an SMTP command")
    return WireAddress(f"{local}@{wire_domain(domain)}", not local.isascii())


def wire_domain(domain: str) -> str:
    """Returns the domain in ASCII (RFC 5890 A-labels); `Permanent` if it has none."""
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise Permanent("unsendable_address", "the domain has no ASCII form under IDNA 2008") from None
    if not _DOMAIN.fullmatch(domain) or len(domain) > 255:
        raise Permanent("unsendable_address", "the domain is not a host name")
    return domain
