"""Connections to Redis, and the one place where its errors are classified.

No client here retries by itself: with a lost reply, a retried XADD stores an entry twice. Whoever repeats a command
does it knowingly, with a script that tolerates it.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import redis.exceptions as errors
from redis.asyncio import RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from leadstream_events.errors import Backpressure, ConfigurationError, RedisCause
from leadstream_events.redis_access import RedisAccess
from leadstream_events.redis_lean import LeanPool, LeanRedis
from leadstream_events.secret_files import read_secret

# A redis-py client. Its reply types are unions over every protocol and decoding, of which we use one (RESP2, bytes).
Client: TypeAlias = Any

# RESP2: with RESP3 an idle connection that the server closed raises instead of reconnecting (redis-py 8.1).
# No driver_info: CLIENT SETINFO is a right that no service needs.
_COMMON: dict[str, Any] = {"protocol": 2, "decode_responses": False, "driver_info": None}

_BY_PREFIX = (
    ("LOADING", RedisCause.LOADING),
    ("READONLY", RedisCause.READONLY),
    ("OOM", RedisCause.OOM),
    ("MISCONF", RedisCause.MISCONF),
    ("NOGROUP", RedisCause.NOGROUP),
    ("WRONGTYPE", RedisCause.WRONGTYPE),
    ("NOAUTH", RedisCause.AUTH),
    ("WRONGPASS", RedisCause.AUTH),
    ("NOPERM", RedisCause.NOPERM),
    ("ACL failure in script", RedisCause.NOPERM),
    ("The user executing the script can't", RedisCause.NOPERM),  # Redis 7.0
    ("CLUSTERDOWN", RedisCause.CLUSTERDOWN),
    ("MASTERDOWN", RedisCause.READONLY),
    # Redis 7.0 wakes readers of a deleted stream with "UNBLOCKED the stream key no longer exists".
    ("UNBLOCKED the stream key", RedisCause.NOGROUP),
    ("UNBLOCKED", RedisCause.READONLY),
    ("BUSY", RedisCause.BUSY),
)


def connect(where: str | RedisAccess, *, timeout_s: float | None, max_connections: int = 64) -> Client:
    """Returns a client; nothing is dialed yet.

    `where` is a URL, or a URL with login and TLS files. `timeout_s` bounds each command on the socket; None waits for
    ever and is only for blocking reads, which bring their own bound. Raises `ConfigurationError` on settings that
    cannot be used, and for files that cannot be read.
    """
    access = RedisAccess(where) if isinstance(where, str) else where
    options = _COMMON | {"socket_timeout": timeout_s, "socket_connect_timeout": min(timeout_s or 5.0, 5.0)}
    options["retry"] = Retry(NoBackoff(), 0)
    try:
        access.check()
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    options |= _login(access) | _tls(access)
    url = access.bare_url
    parts = urlsplit(url)
    try:
        if parts.scheme.endswith("+sentinel"):
            return _sentinel(url, options, _tls(access) | ({"ssl": True} if access.tls else {}))
        if parts.scheme.endswith("+cluster"):
            return RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
        return LeanRedis.from_pool(LeanPool.from_url(url, max_connections=max_connections, **options))
    except (ValueError, errors.RedisError) as error:
        raise ConfigurationError(f"LEADSTREAM_REDIS_URL cannot be used: {type(error).__name__}") from None


class _FromFile(CredentialProvider):
    """Reads the password for each new connection, so that a changed file needs no restart."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username, self._path = username, path
        self._known = self._read()

    def _read(self) -> str:
        return read_secret(self._path, "LEADSTREAM_REDIS_PASSWORD_FILE")

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        with contextlib.suppress(ConfigurationError):  # being replaced just now: the one before it still works
            self._known = self._read()
        return (self._username, self._known) if self._username else (self._known,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


def _login(access: RedisAccess) -> dict[str, Any]:
    user, password = access.url_login
    user, password = access.username or user, access.password or password
    if access.password_file:
        return {"credential_provider": _FromFile(user, access.password_file)}
    return {"username": user, "password": password} if user or password else {}


def _tls(access: RedisAccess) -> dict[str, Any]:
    """redis-py's options; the files are tried out here, where the setting can still be named."""
    given = {"ssl_ca_certs": access.ca_file, "ssl_certfile": access.cert_file, "ssl_keyfile": access.key_file}
    if not any(given.values()):
        return {}  # the first context of a process costs it 2 MiB
    setting = "CA_FILE"
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if access.ca_file:
            context.load_verify_locations(access.ca_file)
        setting = "CERT_FILE and REDIS_KEY_FILE" if access.key_file else "CERT_FILE"
        if access.cert_file:
            context.load_cert_chain(access.cert_file, access.key_file)
    except OSError as error:  # an SSLError is one: no PEM, or a key that does not belong to the certificate
        reason = "no matching PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f"LEADSTREAM_REDIS_{setting} cannot be used: {reason}") from None
    return {option: str(path) for option, path in given.items() if path}


def _sentinel(url: str, options: dict[str, Any], tls: dict[str, Any]) -> Client:
    """`redis+sentinel://host:port,host:port/service/db`; a query is for the sentinels, whose logins are their own."""
    parts = urlsplit(url)
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        raise ConfigurationError("LEADSTREAM_REDIS_URL: redis+sentinel:// needs /service after the hosts")
    addresses = []
    for item in parts.netloc.split(","):
        host, _, port = item.rpartition(":") if ":" in item else (item, "", "26379")
        addresses.append((host, int(port)))
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        addresses, sentinel_kwargs={"socket_timeout": 2.0, **tls, **dict(parse_qsl(parts.query))}, **(options | tls)
    )
    return sentinel.master_for(service, db=int(db or 0))


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
    (errors.NoPermissionError, RedisCause.NOPERM),
)


def _cause_in(text: str) -> RedisCause | None:
    """The error code in a reply; in a script's error it stands behind a prefix that differs between servers."""
    for prefix, cause in _BY_PREFIX:
        if text.startswith(prefix) or f" {prefix} " in text or f"-{prefix} " in text:
            return cause
    return None


# A connection that ended in the middle of something: Redis is away, and TLS has nothing to do with it.
_TORN = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def _refused_by_tls(error: BaseException | None) -> bool:
    """True when one side would not take the other's certificate or protocol; redis-py hides it in a ConnectionError."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return not isinstance(error, _TORN)
        error = error.__cause__ or error.__context__
    return False


def classify(error: BaseException) -> Backpressure | None:
    """Returns why Redis could not take a command, or None when the error is not Redis's."""
    if isinstance(error, Backpressure):
        return error
    if _refused_by_tls(error):
        return Backpressure(RedisCause.TLS)
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


@contextlib.contextmanager
def redis_may_refuse() -> Iterator[None]:
    """For what may be left undone when Redis does not take it: ends the block at its trouble; bugs pass through."""
    try:
        yield
    except Exception as error:
        if classify(error) is None:
            raise


def _without_arguments(text: str) -> str:
    """The server's words alone: redis-py and unknown commands quote arguments, which may be somebody's data."""
    return text.rpartition("of pipeline caused error: ")[2].partition(", with args")[0].strip("()',")


async def one_keyspace(client: Client) -> bool:
    """True when one script may write to any keys together (CLUSTER NODES is refused: no cluster).

    On a cluster it may only to those of one slot, also where a single shard is spoken to by its own address. A server
    that does not say counts as a cluster; what breaks the connection passes through.
    """
    if isinstance(client, RedisCluster):
        return False
    try:
        await client.execute_command("CLUSTER", "NODES")
    except errors.ResponseError as error:
        return "cluster support disabled" in str(error)
    return False


async def drop_connections(client: Client) -> None:
    """Closes every connection, those in use too, so that the next command resolves the address again."""
    if isinstance(client, RedisCluster):
        await client.aclose()
    else:
        await client.connection_pool.disconnect()
