"""How Redis is reached: its address, and the login and TLS files that need not stand in it. Knows no client."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from leadstream_events.listening import split_url

PREFIX = "LEADSTREAM_"
EXAMPLE = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """The settings `REDIS_…` together. `check` says what does not fit; nothing here reads a file."""

    url: str = field(repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return urlsplit(self.url).scheme.startswith("rediss")

    @property
    def url_login(self) -> tuple[str | None, str | None]:
        """User and password as they stand in the URL."""
        credentials, _, _ = urlsplit(self.url).netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        return unquote(user) or None, unquote(password) or None

    @property
    def bare_url(self) -> str:
        """The URL without user and password."""
        credentials, at, _ = urlsplit(self.url).netloc.rpartition("@")
        return self.url.replace(credentials + at, "", 1) if at else self.url

    def check(self) -> None:
        """Raises ValueError, whose text names the setting and the mend."""
        try:
            split_url(self.url, EXAMPLE)
        except ValueError as error:
            raise ValueError(f"{PREFIX}REDIS_URL: {error}") from None
        user, password = self.url_login
        if self.username and user and self.username != user:
            raise ValueError(f"{PREFIX}REDIS_USERNAME: {PREFIX}REDIS_URL names another user; name one of them")
        if self.password and self.password_file:
            raise ValueError(
                f"{PREFIX}REDIS_PASSWORD and {PREFIX}REDIS_PASSWORD_FILE are both set; keep one (better the file)"
            )
        if self.username and not (self.password or self.password_file or password):
            raise ValueError(f"{PREFIX}REDIS_USERNAME needs {PREFIX}REDIS_PASSWORD_FILE beside it")
        self._check_password(password)
        self._check_tls()

    def _check_password(self, in_url: str | None) -> None:
        if self.password and in_url and self.password != in_url:
            raise ValueError(f"{PREFIX}REDIS_PASSWORD: {PREFIX}REDIS_URL holds another password; keep one of them")
        if self.password_file and in_url:
            raise ValueError(
                f"{PREFIX}REDIS_PASSWORD_FILE: {PREFIX}REDIS_URL holds a password too; take it out of the URL"
            )

    def _check_tls(self) -> None:
        query = parse_qs(urlsplit(self.url).query)
        files = {"CA_FILE": self.ca_file, "CERT_FILE": self.cert_file, "KEY_FILE": self.key_file}
        options = {"CA_FILE": "ssl_ca_certs", "CERT_FILE": "ssl_certfile", "KEY_FILE": "ssl_keyfile"}
        for name, path in files.items():
            if path and not self.tls:
                raise ValueError(
                    f"{PREFIX}REDIS_{name} is set, but {PREFIX}REDIS_URL asks for no TLS; "
                    "start it with rediss://, rediss+cluster:// or rediss+sentinel://"
                )
            if path and options[name] in query:
                raise ValueError(
                    f"{PREFIX}REDIS_{name}: {PREFIX}REDIS_URL has {options[name]} too; take it out of the URL"
                )
        if self.key_file and not self.cert_file:
            raise ValueError(f"{PREFIX}REDIS_KEY_FILE needs {PREFIX}REDIS_CERT_FILE beside it")
