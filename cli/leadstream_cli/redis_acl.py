"""Writes the ACL file of Redis, one user per service, and a password file for each.

In the file stand hashes alone (SHA-256 of 256 random bits); the passwords are in files that only their owner reads.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from leadstream_cli.redis_rights import CONNECTION, ON_ALL_ITS_KEYS, USERS, User
from leadstream_events import keys
from leadstream_events.errors import ConfigurationError
from leadstream_events.secret_files import overwrite_secret, read_secret

FILE = "users.acl"
PREFIX = "leadstream-"
ADMIN = "admin"
USER_NAMES = (ADMIN, *USERS)
_PASSWORD_BYTES = 32
_READING = frozenset({
    "get", "hget", "hmget", "hgetall", "hexists", "hlen", "hkeys", "hvals", "hscan", "xrange", "xrevrange", "xlen",
    "xpending", "xread", "xinfo|stream", "xinfo|groups", "xinfo|consumers", "scard", "sismember", "zcard", "zcount",
    "zrange", "zrevrange", "zscore", "zmscore", "memory|usage", "pttl",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Written:
    """A user whose password stands in a file; `fresh`: it is a new one."""

    user: str
    what: str
    password_file: Path
    fresh: bool


def _selector(commands: set[str], patterns: tuple[str, ...]) -> str:
    mark = "%R~" if commands <= _READING else "~"
    granted = " ".join("+" + command for command in sorted(commands))
    return f"({granted} {' '.join(mark + pattern for pattern in patterns)})"


def _granted(user: User) -> str:
    """Rights on the same keys are one selector."""
    merged: dict[tuple[tuple[str, ...], bool], set[str]] = {}
    for right in user.rights:
        reading = set(right.commands) <= _READING
        merged.setdefault((right.keys, reading), set()).update(right.commands)
    plain = " ".join("+" + command for command in (*CONNECTION, *user.plain))
    selectors = [_selector(commands, patterns) for (patterns, _), commands in sorted(merged.items())]
    return f"{plain} {' '.join(selectors)}"


def marker() -> str:
    """A key that nobody writes. That a user may look at it says that his rights are those of this version."""
    table = "\n".join((*ON_ALL_ITS_KEYS, *(_granted(user) for user in USERS.values())))
    return f"{keys.META}:rights:{hashlib.sha256(table.encode()).hexdigest()[:16]}"


def rules(user: User) -> str:
    """The rights of a user as Redis writes them (ACL SETUSER)."""
    return f"resetchannels -@all {_granted(user)} {_selector(set(ON_ALL_ITS_KEYS), (*user.keys, marker()))}"


def acl_text(hashes: Mapping[str, tuple[str, ...]], prefix: str) -> str:
    """The file: `default` is off, `admin` may do everything, each service what the table says."""
    lines = ["user default off"]
    for name in USER_NAMES:
        taken = " ".join("#" + each for each in hashes[name])
        granted = "~* &* +@all" if name == ADMIN else rules(USERS[name])
        lines.append(f"user {prefix}{name} on {taken} {granted}")
    return "\n".join(lines) + "\n"


def write_users(folder: Path, prefix: str, rotate: frozenset[str]) -> list[Written]:
    """Writes `users.acl` and the missing password files, new ones with mode 0600, and returns the users.

    Passwords that are there are kept. Who is in `rotate` gets a new one, and the old one is taken too until the file is
    written again. Raises `ConfigurationError` for a folder or file that cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        written, hashes = [], {}
        for name in USER_NAMES:
            path = folder / f"{prefix}{name}.password"
            old = read_secret(path, mend="remove it, and a new password is made") if path.exists() else None
            fresh = old is None or name in rotate
            new = old if old and not fresh else secrets.token_urlsafe(_PASSWORD_BYTES)
            if fresh:
                overwrite_secret(path, new + "\n")
            hashes[name] = tuple(_hash(each) for each in dict.fromkeys((new, old)) if each)
            written.append(Written(prefix + name, "everything" if name == ADMIN else USERS[name].what, path, fresh))
        overwrite_secret(folder / FILE, acl_text(hashes, prefix))
    except OSError as error:
        raise ConfigurationError(f"{error.filename or folder}: {error.strerror}") from None
    return written


def _hash(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
