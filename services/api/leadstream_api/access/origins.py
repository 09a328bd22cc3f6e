"""Where a browser says that a request comes from: pure decisions about `Host`, `Origin` and `Sec-Fetch-Site`.

Without API keys everybody on this machine may do everything, and any web page that somebody on this machine looks at
can send requests here. So a name that resolves to this machine (DNS rebinding) and pages of other sites are refused.
Sources: RFC 6454 (Origin), RFC 9110 section 7.2 (Host), W3C Fetch Metadata.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+", re.ASCII)  # browsers send IDN in Punycode
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
# A request that carries one of these came through a proxy, so it may come from anywhere.
PROXY_HEADERS = frozenset((b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"))


def host_name(host: str) -> str | None:
    """The name in a Host header without its port, in lower case; None when it is none."""
    match = _HOST.fullmatch(host)
    return match["name"].strip("[]").lower().rstrip(".") if match else None


@lru_cache(maxsize=1024)  # asked of every request, and `ipaddress` takes its time
def is_loopback_name(name: str) -> bool:
    """True for `localhost`, names under it (RFC 6761 section 6.3) and loopback addresses."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def origin_of(value: str) -> str | None:
    """The origin `scheme://host[:port]` of a URL in its one spelling; None when there is none (`null`, files)."""
    try:
        parts = urlsplit(value.strip().lower())
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not _NAME.fullmatch(host or "") or parts.username is not None:
        return None
    shown = f"[{host}]" if ":" in str(host) else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port and port != _DEFAULT_PORTS[parts.scheme] else "")


def is_loopback_origin(origin: str) -> bool:
    """True for pages that this machine serves itself, on any port."""
    found = origin_of(origin)
    return found is not None and is_loopback_name(urlsplit(found).hostname or "")


class Provenance(NamedTuple):
    """What a browser says about where a request comes from; None where it says nothing."""

    host: str
    origin: str | None = None
    fetch_site: str | None = None

    def cross_site(self, own_origin: str | None = None) -> bool:
        """True when a page of another origin sent it. Programs that are no browsers say nothing, and pass.

        `own_origin` is where people reach us (PUBLIC_URL): a proxy may change the Host header.
        """
        if self.fetch_site is not None:
            return self.fetch_site not in ("same-origin", "none")
        if self.origin is None:
            return False
        found = origin_of(self.origin)
        if found is None:
            return True
        return found != own_origin and found not in (
            origin_of(f"http://{self.host}"),
            origin_of(f"https://{self.host}"),
        )


def local_path(target: str | None) -> str:
    """Where to go after a login: a path of ours, or `/`; never another site (`//other.example`, `/\\other.example`)."""
    if not target or not re.fullmatch(r"/(?![/\\])[\x21-\x7e]{0,1000}", target) or "\\" in target:
        return "/"
    return target
