"""Connections to Redis, and the one place where its errors are classified.

No client here retries by itself: with a lost reply, a retried XADD stores an entry twice. Whoever repeats a command
does it knowingly, with a script that tolerates it.
"""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

import hiredis
import redis.exceptions as errors
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from leadstream_events.errors import Backpressure, ConfigurationError, RedisCause

# A redis-py client. Its reply types are unions over every protocol and decoding, of which we use one (RESP2, bytes).
Client: TypeAlias = Any

# RESP2: with RESP3 an idle connection that the server closed raises instead of reconnecting (redis-py 8.1).
_COMMON: dict[str, Any] = {"protocol": 2, "decode_responses": False}

_BY_PREFIX = (
    ("LOADING", RedisCause.LOADING),
    ("READONLY", RedisCause.READONLY),
    ("OOM", RedisCause.OOM),
    ("MISCONF", RedisCause.MISCONF),
    ("NOGROUP", RedisCause.NOGROUP),
    ("WRONGTYPE", RedisCause.WRONGTYPE),
    ("NOAUTH", RedisCause.AUTH),
    ("WRONGPASS", RedisCause.AUTH),
    ("NOPERM", RedisCause.AUTH),
    ("CLUSTERDOWN", RedisCause.CLUSTERDOWN),
    ("MASTERDOWN", RedisCause.READONLY),
    # Redis 7.0 wakes readers of a deleted stream with "UNBLOCKED the stream key no longer exists".
    ("UNBLOCKED the stream key", RedisCause.NOGROUP),
    ("UNBLOCKED", RedisCause.READONLY),
    ("BUSY", RedisCause.BUSY),
)


def connect(url: str, *, timeout_s: float | None, max_connections: int = 64) -> Client:
    """Returns a client; nothing is dialed yet.

    `timeout_s` bounds each command on the socket; None waits for ever and is only for blocking reads, which bring
    their own bound. Raises `ConfigurationError` on a URL that cannot be used.
    """
    options = _COMMON | {"socket_timeout": timeout_s, "socket_connect_timeout": min(timeout_s or 5.0, 5.0)}
    options["retry"] = Retry(NoBackoff(), 0)
    parts = urlsplit(url)
    try:
        if parts.scheme == "redis+sentinel":
            return _sentinel(url, options)
        if parts.scheme.endswith("+cluster"):
            return RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
        client = Redis.from_url(url, max_connections=max_connections, **options)
        client.connection_pool.connection_class = _packing_in_c(client.connection_pool.connection_class)
        return client
    except (ValueError, errors.RedisError) as error:
        raise ConfigurationError(f"LEADSTREAM_REDIS_URL cannot be used: {type(error).__name__}") from None


def _packing_in_c(base: Any) -> Any:
    """A connection class whose commands hiredis packs: redis-py does so in its blocking client only.

    Packing was the largest item in the profile of a service at work.
    """

    class Connection(base):  # type: ignore[misc]
        def pack_command(self, *args: Any) -> list[bytes]:
            name = args[0]
            words = (name.encode() if isinstance(name, str) else name).split()
            try:
                return [hiredis.pack_command((*words, *args[1:]))]
            except TypeError:  # an argument of a kind that hiredis does not know
                packed: list[bytes] = super().pack_command(*args)
                return packed

    return Connection


def _sentinel(url: str, options: dict[str, Any]) -> Client:
    """`redis+sentinel://[user:password@]host:port,host:port/service/db`"""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        raise ConfigurationError("LEADSTREAM_REDIS_URL: redis+sentinel:// needs /service after the hosts")
    addresses = []
    for item in hosts.split(","):
        host, _, port = item.rpartition(":") if ":" in item else (item, "", "26379")
        addresses.append((host, int(port)))
    user, _, password = credentials.partition(":")
    login: dict[str, Any] = (
        {"username": unquote(user) or None, "password": unquote(password) or None} if credentials else {}
    )
    query = dict(parse_qsl(parts.query))
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        addresses, sentinel_kwargs={"socket_timeout": 2.0, **query}, **options
    )
    return sentinel.master_for(service, db=int(db or 0), **login)


# How uvloop refuses a write on a connection that the server has closed meanwhile: a bare RuntimeError, which redis-py
# lets through. asyncio's own transports only log it.
_CLOSED_TRANSPORT = "unable to perform operation on <"

# Types that the client already knows; subclasses stand before their bases.
_BY_TYPE: tuple[tuple[type[BaseException], RedisCause], ...] = (
    (errors.TimeoutError, RedisCause.TIMEOUT),
    (TimeoutError, RedisCause.TIMEOUT),
    (errors.AuthenticationError, RedisCause.AUTH),
    (errors.BusyLoadingError, RedisCause.LOADING),
    (errors.ReadOnlyError, RedisCause.READONLY),
    (errors.OutOfMemoryError, RedisCause.OOM),
    (errors.NoPermissionError, RedisCause.AUTH),
)


def _cause_in(text: str) -> RedisCause | None:
    """The error code in a reply; in a script's error it stands behind a prefix that differs between servers."""
    for prefix, cause in _BY_PREFIX:
        if text.startswith(prefix) or f" {prefix} " in text or f"-{prefix} " in text:
            return cause
    return None


def classify(error: BaseException) -> Backpressure | None:
    """Returns why Redis could not take a command, or None when the error is not Redis's."""
    if isinstance(error, Backpressure):
        return error
    for kind, cause in _BY_TYPE:
        if isinstance(error, kind):
            return Backpressure(cause)
    if isinstance(error, errors.ConnectionError | OSError):
        return Backpressure(RedisCause.DOWN)
    if isinstance(error, RuntimeError) and str(error).startswith(_CLOSED_TRANSPORT):
        return Backpressure(RedisCause.DOWN)
    if isinstance(error, errors.RedisError):
        text = _without_arguments(str(error))
        known = _cause_in(text[:300])
        return Backpressure(known) if known else Backpressure(RedisCause.OTHER, text[:120])
    return None


def _without_arguments(text: str) -> str:
    """The server's words alone: redis-py and unknown commands quote arguments, which may be somebody's data."""
    return text.rpartition("of pipeline caused error: ")[2].partition(", with args")[0].strip("()',")


async def drop_connections(client: Client) -> None:
    """Closes every connection, those in use too, so that the next command resolves the address again."""
    if isinstance(client, RedisCluster):
        await client.aclose()
    else:
        await client.connection_pool.disconnect()
