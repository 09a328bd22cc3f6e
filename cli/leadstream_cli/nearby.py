"""Whether an address is on this machine, by its name alone: nothing is looked up."""

from __future__ import annotations

from urllib.parse import urlsplit

from leadstream_api.access.origins import host_name, is_loopback_name


def elsewhere(url: str) -> bool:
    """True when a host of the URL is no loopback name or address; several hosts stand with commas between.

    A URL without a host, such as that of a unix socket, is here.
    """
    hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    return any(host and not is_loopback_name(host_name(host) or "") for host in hosts)
