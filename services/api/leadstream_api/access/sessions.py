"""Browser sessions: a signed cookie that names a key, never holds it, and ends with it.

The cookie says which key logged in, until when, and a nonce; HMAC-SHA256 keeps it from being changed. Every request
looks the key up anew, so that a revoked or expired key ends its sessions at once. Signing out is remembered on the
disk beside the signing secret, so a copied cookie ends too, for every API process that shares the data directory.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from leadstream_events import logs
from leadstream_events.errors import ConfigurationError
from leadstream_events.secret_files import create_secret, read_secret

LIFETIME_S = 12 * 3600
_SECRET_BYTES = 32
_SECRET_FILE = "session.secret"  # noqa: S105  -- the name of a file
_ENDED_DIRECTORY = "sessions-ended"
_COOKIE = re.compile(r"([0-9a-f]{16})\.([0-9]{1,12})\.([0-9a-f]{32})\.([0-9a-f]{64})", re.ASCII)
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Session:
    """A login; `expires_s` is in seconds since 1970."""

    key_id: str
    expires_s: int
    nonce: str


class Signer:
    """Makes and checks what only this API can make. Pure."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def mac(self, purpose: str, text: str) -> str:
        """HMAC-SHA256 in hex; what is made for one purpose is worth nothing for another."""
        return hmac.new(self._secret, f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()

    def cookie(self, session: Session) -> str:
        """The value of the cookie."""
        text = f"{session.key_id}.{session.expires_s}.{session.nonce}"
        return f"{text}.{self.mac('session', text)}"

    def read(self, cookie: str, now: datetime) -> Session | None:
        """The session in a cookie; None when it was tampered with or is over."""
        match = _COOKIE.fullmatch(cookie)
        if match is None:
            return None
        key_id, expires, nonce, mac = match.groups()
        if not hmac.compare_digest(mac, self.mac("session", f"{key_id}.{expires}.{nonce}")):
            return None
        return Session(key_id, int(expires), nonce) if int(expires) > now.timestamp() else None

    def csrf_token(self, session: Session) -> str:
        """The token that every change under this session must bring: other sites cannot read it."""
        return self.mac("csrf", session.nonce)

    def is_csrf_token(self, session: Session, token: str) -> bool:
        """Compares in constant time."""
        return hmac.compare_digest(self.csrf_token(session).encode(), token.encode("utf-8", "surrogatepass"))


def new_session(key_id: str, now: datetime) -> Session:
    """A session that begins now."""
    return Session(key_id, int(now.timestamp()) + LIFETIME_S, secrets.token_hex(16))


class EndedSessions:
    """Sessions that were signed out before their time: one empty file each, until they would have expired."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / _ENDED_DIRECTORY
        self._here: set[str] = set()

    def end(self, session: Session, now: datetime) -> None:
        """Ends a session. On a disk that cannot be written it ends for this process alone, which is logged."""
        self._here.add(session.nonce)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._directory / session.nonce
            path.touch(mode=0o600)
            os.utime(path, (session.expires_s, session.expires_s))
            self._forget_expired(now)
        except OSError as error:
            _log.warning("a sign-out is known to this process only", reason=error.strerror)

    def has(self, session: Session) -> bool:
        """True when the session was signed out."""
        return session.nonce in self._here or (self._directory / session.nonce).exists()

    def _forget_expired(self, now: datetime) -> None:
        for path in self._directory.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < now.timestamp():
                    path.unlink()


def load_secret(data_dir: Path) -> bytes:
    """Returns the signing secret of this data directory, made at first use with mode 0600.

    Processes that start together agree on one (link(2) is atomic). When the directory cannot be used, the secret lives
    as long as the process: sessions end with it, and a log line says so.
    """
    path = data_dir / _SECRET_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with suppress(FileExistsError):
                create_secret(path, secrets.token_hex(_SECRET_BYTES))
        found = bytes.fromhex(read_secret(path, mend="delete it"))
        if len(found) >= _SECRET_BYTES:
            return found
        reason = f"{path} is too short; delete it"
    except ConfigurationError as error:
        reason = str(error)
    except OSError as error:
        reason = f"LEADSTREAM_DATA_DIR: {path}: {error.strerror}"
    except ValueError:
        reason = f"{path} is not hexadecimal; delete it"
    _log.warning("browser sessions will end with this process", reason=reason)
    return secrets.token_bytes(_SECRET_BYTES)
