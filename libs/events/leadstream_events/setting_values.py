"""How values of settings are written and shown. Pure; ValueError says what is wrong, and never repeats the value."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pydantic import BeforeValidator, SecretStr

from leadstream_events.listening import parse_host_port, parse_imap, split_url
from leadstream_events.redis_access import EXAMPLE as REDIS_EXAMPLE

# RFC 5321 section 4.5.3.1.1 allows 64 octets before the @; a plus sign and 48 characters of token follow.
MAX_RETURN_PATH_LOCAL = 15
_REDIS_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
)
_SMTP_SCHEMES = ("smtp", "smtp+starttls", "smtps")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


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


def parse_archive_keep(value: object) -> float | None:
    """Returns seconds, or None for `off`. Days, because archives outlive what other durations allow."""
    if value is None or str(value).strip().lower() in ("off", "none"):
        return None
    match = re.fullmatch(r"\s*([0-9]{1,5})\s*d\s*", str(value))
    if not match or not 0 < int(match[1]) <= 36_525:
        raise ValueError("must be a number of days such as 400d, at most 36525d, or off")
    return int(match[1]) * 86_400.0


def parse_durations(value: object) -> tuple[float, ...]:
    """Returns seconds of several durations with commas between."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts:
        raise ValueError("must be durations with commas between, such as 60s,2m,4m")
    return tuple(parse_duration(part) for part in parts)


def parse_topics(value: object) -> tuple[str, ...]:
    """Returns ARNs of SNS topics."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError("must be ARNs of SNS topics with commas between")
    topics = tuple(str(part).strip() for part in parts if str(part).strip())
    if any(not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}", each) for each in topics):
        raise ValueError("must be ARNs of SNS topics, such as arn:aws:sns:eu-west-1:123456789012:bounces")
    return topics


def parse_time_of_day(value: object) -> str:
    """Returns `07:00` as it is."""
    if not re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", str(value)):
        raise ValueError("must be a time of day such as 07:00, in UTC")
    return str(value)


Duration = Annotated[float, BeforeValidator(parse_duration)]


class OnUnknown(StrEnum):
    """What to do with a mail whose outcome was never learned."""

    RESEND = "resend"
    HOLD = "hold"


class OnUnanswered(StrEnum):
    """What to do with a lead when nobody said whether a person sent it."""

    ACCEPT = "accept"
    REFUSE = "refuse"


class Encryption(StrEnum):
    """Whether leads are sealed."""

    ON = "on"
    OFF = "off"


def host_port(value: object) -> str | None:
    """Returns an address as it was written, None for none."""
    return None if parse_host_port(value) is None else str(value).strip()


def parse_switch(value: object) -> object:
    """Returns `on` or `off` for what TOML and people write."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value).strip().lower()


def parse_exporter(value: object) -> str:
    """Returns `off`, `otlp`, `console` or `file:PATH`."""
    if value is False:  # what TOML makes of off without quotes
        return "off"
    text = str(value).strip()
    if text in ("off", "otlp", "console") or (text.startswith("file:") and len(text) > len("file:")):
        return text
    raise ValueError("must be off, otlp, console or file:PATH")


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


def _any_of(schemes: tuple[str, ...]) -> str:
    return ", ".join(scheme + "://" for scheme in schemes)


def known_redis(value: str) -> str:
    """Returns the URL of a Redis."""
    if split_url(value, REDIS_EXAMPLE).scheme not in _REDIS_SCHEMES:
        raise ValueError(f"must start with one of {_any_of(_REDIS_SCHEMES)}")
    return value


def known_smtp(value: SecretStr) -> SecretStr:
    """Returns the URL of an SMTP server."""
    parts = split_url(value.get_secret_value(), "smtps://mail.example.com:465")
    if parts.scheme not in _SMTP_SCHEMES or not parts.hostname:
        raise ValueError(f"must be a host after one of {_any_of(_SMTP_SCHEMES)}")
    return value


def known_mailbox(value: str | None) -> str | None:
    """Returns the URL of a mailbox."""
    if value is not None:
        parse_imap(value)
    return value


def known_archive(value: str | None) -> str | None:
    """Returns where the archive is; None for `off`."""
    if value is None or not value.strip() or value.strip().lower() in ("off", "none"):
        return None
    parts = split_url(value, "s3://bucket/prefix")
    if parts.username or parts.password:
        raise ValueError("holds a name or password: S3 credentials come from AWS_ACCESS_KEY_ID and its companions")
    named = {"": True, "s3": bool(parts.netloc), "file": not parts.netloc and bool(parts.path)}
    if not named.get(parts.scheme, False):
        raise ValueError("must be a folder, file:///path or s3://bucket/prefix")
    return value


def room_for_a_token(value: str | None) -> str | None:
    """Returns an address to which a token can be added."""
    local = (value or "").rpartition("@")[0]
    if "+" in local or len(local) > MAX_RETURN_PATH_LOCAL:
        raise ValueError(
            f"its local part must have no plus sign and at most {MAX_RETURN_PATH_LOCAL} characters: "
            "a token is put behind it, and 64 are allowed in all (RFC 5321)"
        )
    return value


def mask_url(url: str) -> str:
    """Returns the URL with its password replaced by `***`, also one in the query (`?password=`)."""
    url = re.sub(r"(?i)([?&](?:password|token)=)[^&#]*", r"\1***", url)
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user = quote(unquote(parts.username or ""))
    return urlunsplit(parts._replace(netloc=f"{user}:***@{parts.netloc.rpartition('@')[2]}"))


def known_webhook(value: SecretStr | None) -> SecretStr | None:
    """Returns the URL that errors are posted to."""
    if value is not None:
        parts = split_url(value.get_secret_value(), "https://hooks.example.com/errors")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http:// or https:// URL")
    return value
