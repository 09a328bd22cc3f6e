"""Configuration: environment variables with the prefix `LEADSTREAM_`, or the same keys in `leadstream.toml`.

The environment wins over the file. A wrong value raises `ConfigurationError`, which names the setting and the
mend; secrets never show up in errors or in `masked()`.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from leadstream_events.errors import ConfigurationError
from leadstream_events.limits import DomainRates, Rate, parse_domain_rates, parse_rate
from leadstream_events.schemas.lead import Address

PREFIX = "LEADSTREAM_"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel")
_SMTP_SCHEMES = ("smtp", "smtp+starttls", "smtps")


def parse_duration(value: object) -> float:
    """Returns seconds from `500ms`, `60s`, `2m`, `1h` or a plain number of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|m|h|d)?\s*", str(value))
        if not match:
            raise ValueError("must be a duration such as 500ms, 60s, 2m or 1h")
        seconds = float(match[1]) * _UNITS[match[2] or "s"]
    if not 0 < seconds <= 366 * 86_400:
        raise ValueError("must be a duration above 0 and at most 366 days")
    return seconds


def parse_retain(value: object) -> float | None:
    """Returns seconds, or None for `off`: everything is kept."""
    if value is None or str(value).strip().lower() in ("off", "none"):
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{error}, or off") from None


def _durations(value: object) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts:
        raise ValueError("must be durations with commas between, such as 60s,2m,4m")
    return tuple(parse_duration(part) for part in parts)


Duration = Annotated[float, BeforeValidator(parse_duration)]


class OnUnknown(StrEnum):
    """What to do with a mail whose outcome was never learned."""

    RESEND = "resend"
    HOLD = "hold"


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


class Settings(BaseSettings):
    """What is in force, with its defaults. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True)

    redis_url: str = "redis://127.0.0.1:6379/0"
    """Also `rediss://`, `unix://`, `redis+cluster://`, `redis+sentinel://host:port,host:port/service/db`."""
    partitions: Annotated[int, Field(ge=1, le=1024)] = 1
    """Fixed at the first start and kept in Redis; another value is refused."""
    smtp_url: SecretStr = SecretStr("smtp://127.0.0.1:1025")
    """`smtp://` plain, `smtp+starttls://` (TLS required), `smtps://`; user and password may stand inside,
    percent-encoded; `?auth=xoauth2`."""
    smtp_password: SecretStr | None = None
    """The password, if not inside the URL."""
    smtp_password_file: Path | None = None
    """A file that holds it."""
    smtp_connections: Annotated[int, Field(ge=1, le=1000)] = 8
    """Kept connections per mailer process."""
    smtp_timeout: Duration = 30.0
    """For connecting and for each command."""
    smtp_data_timeout: Duration = 300.0
    """For the answer to the content (RFC 5321 asks for 10 minutes; users report doubles from 60 s)."""
    mail_from: Address = "leads@example.com"
    """Sender of every mail, and the domain of Message-IDs."""
    public_url: str = "http://127.0.0.1:8000"
    """Base of links in mails, and where `leadstream lead submit` posts to."""
    rate_limit: Annotated[Rate | None, NoDecode, BeforeValidator(parse_rate)] = Rate(50, 60_000)
    """All workers together: `off`, `N/s`, `N/min`, `N/h`."""
    rate_limit_domains: Annotated[DomainRates, NoDecode, BeforeValidator(parse_domain_rates)] = DomainRates()
    """Per recipient domain, beside the global one: `gmail.com=20/min,example.org=5/s`."""
    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """Attempts after the first one."""
    retry_delays: Annotated[tuple[float, ...], NoDecode, BeforeValidator(_durations)] = (60.0, 120.0, 240.0)
    """Before the second, third, ... attempt; the last one repeats."""
    lease: Duration = 60.0
    """An entry in work that is idle this long is an orphan, and another worker takes it."""
    max_deliveries: Annotated[int, Field(ge=2, le=1000)] = 10
    """An entry delivered this often without ever finishing is a dead letter."""
    on_unknown: OnUnknown = OnUnknown.RESEND
    """When the answer to DATA was lost: `resend` once with the same Message-ID, or `hold` for a person."""
    welcome: bool = True
    """Whether the lead gets a mail too."""
    append_deadline: Duration = 0.5
    """How long a POST waits for Redis before the lead goes into the spool."""
    retain: Annotated[float | None, NoDecode, BeforeValidator(parse_retain)] = None
    """How long leads and what became of them are kept after every group has finished them; `off` keeps everything."""
    drain_deadline: Duration = 10.0
    """How long SIGTERM lets work in flight end."""
    data_dir: Path = Path("data")
    """Spools, and the files of the embedded server."""
    templates_dir: Path | None = None
    """A folder whose files replace the mail templates, file by file."""
    api_host: str = "127.0.0.1"
    """Where the API listens; beyond loopback only with keys."""
    api_port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """0 takes a free one."""
    api_keys_file: Path | None = None
    """Keys with scopes; without it the API binds to loopback only."""
    log_format: LogFormat = LogFormat.TEXT
    """`text` or `json`, on standard error."""

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, value: str) -> str:
        if urlsplit(value).scheme not in _REDIS_SCHEMES:
            raise ValueError(f"must start with one of {', '.join(s + '://' for s in _REDIS_SCHEMES)}")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _known_smtp(cls, value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in _SMTP_SCHEMES or not parts.hostname:
            raise ValueError(f"must be a host after one of {', '.join(s + '://' for s in _SMTP_SCHEMES)}")
        try:
            _ = parts.port
        except ValueError:
            raise ValueError("has a port that is not a number from 0 to 65535") from None
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = Path(os.environ.get(PREFIX + "CONFIG", "leadstream.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)

    @property
    def max_attempts(self) -> int:
        """SMTP attempts in all: the first and its retries."""
        return self.retries + 1

    def masked(self) -> dict[str, Any]:
        """Returns every setting as text that can be shown, secrets replaced by `***`."""
        out = {name: getattr(self, name) for name in type(self).model_fields}
        out["redis_url"] = mask_url(self.redis_url)
        out["smtp_url"] = mask_url(self.smtp_url.get_secret_value())
        out["smtp_password"] = "***" if self.smtp_password else None
        return {name: value if value is None else str(value) for name, value in out.items()}


def mask_url(url: str) -> str:
    """Returns the URL with its password replaced by `***`, also one in the query (`?password=`)."""
    url = re.sub(r"(?i)([?&](?:password|token)=)[^&#]*", r"\1***", url)
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user = quote(unquote(parts.username or ""))
    return urlunsplit(parts._replace(netloc=f"{user}:***@{parts.netloc.rpartition('@')[2]}"))


def load_settings(**overrides: Any) -> Settings:
    """Reads the configuration; raises `ConfigurationError` with one line per wrong setting."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            name = str(item["loc"][0]) if item["loc"] else "configuration"
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"{PREFIX}{name.upper()}: {message}")
        raise ConfigurationError("\n".join(lines)) from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"leadstream.toml cannot be read: {type(error).__name__}: {error}") from None
