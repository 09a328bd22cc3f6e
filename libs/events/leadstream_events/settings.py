"""Configuration: environment variables with the prefix `LEADSTREAM_`, or the same keys in `leadstream.toml`.

The environment wins over the file. A wrong value raises `ConfigurationError`, which names the setting and the
mend; secrets never show up in errors or in `masked()`.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from leadstream_events.domains import WELL_KNOWN, DomainCounts, DomainGroups, parse_counts, parse_groups
from leadstream_events.errors import ConfigurationError
from leadstream_events.limits import DomainRates, Rate, parse_domain_rates, parse_rate
from leadstream_events.listening import Listen, parse_listen
from leadstream_events.redis_access import RedisAccess
from leadstream_events.schemas.lead import Address
from leadstream_events.setting_values import (
    Duration,
    Encryption,
    LogFormat,
    OnUnanswered,
    OnUnknown,
    host_port,
    known_archive,
    known_mailbox,
    known_redis,
    known_smtp,
    known_webhook,
    mask_url,
    parse_archive_keep,
    parse_durations,
    parse_exporter,
    parse_retain,
    parse_switch,
    parse_time_of_day,
    parse_topics,
    room_for_a_token,
)
from leadstream_events.warm_up import DOUBLING, parse_warm_up

PREFIX = "LEADSTREAM_"
RETAIN_WITH_ARCHIVE_S = 7 * 86_400.0


class Settings(BaseSettings):
    """What is in force, with its defaults. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True)

    redis_url: Annotated[str, AfterValidator(known_redis)] = "redis://127.0.0.1:6379/0"
    """Also `unix://`, `redis+cluster://`, `redis+sentinel://host:port,host:port/service/db`; with TLS `rediss://`,
    `rediss+cluster://`, `rediss+sentinel://`."""
    redis_username: str | None = None
    """The user, if not inside the URL; none is `default`. `leadstream acl` makes one for each service."""
    redis_password: SecretStr | None = None
    """The password, if not inside the URL."""
    redis_password_file: Path | None = None
    """A file that holds it, read again for every new connection."""
    redis_ca_file: Path | None = None
    """Who must have signed the server's certificate, in PEM; without it, those that the system trusts."""
    redis_cert_file: Path | None = None
    """The certificate to show to a server that asks for one, in PEM."""
    redis_key_file: Path | None = None
    """Its key, if not in the same file."""
    partitions: Annotated[int, Field(ge=1, le=1024)] = 1
    """Fixed at the first start and kept in Redis; another value is refused."""
    smtp_url: Annotated[SecretStr, AfterValidator(known_smtp)] = SecretStr("smtp://127.0.0.1:1025")
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
    return_path: Annotated[Address | None, AfterValidator(room_for_a_token)] = None
    """Where bounces come back to, as `bounce@mail.example.com`: each mail gets an envelope sender of its own,
    `bounce+<signed token>@mail.example.com`. Without it `MAIL_FROM` is the envelope sender."""
    abuse_to: Address | None = None
    """Where mailbox providers send complaints (feedback loops, RFC 5965), for the bounce receiver."""
    bounces_listen: Annotated[tuple[Listen, ...], NoDecode, BeforeValidator(parse_listen)] = (
        Listen("smtp", "127.0.0.1", 2525),
    )
    """Where the bounce receiver takes mail, with commas between: `127.0.0.1:2525` (SMTP), `lmtp:127.0.0.1:2524`,
    `lmtp:/run/leadstream/bounces.sock` (a socket in the file system), or `off` for a mailbox alone."""
    bounces_imap_url: Annotated[str | None, AfterValidator(known_mailbox)] = None
    """A mailbox that bounces are fetched from too: `imaps://user@host/INBOX`; user percent-encoded."""
    bounces_imap_password_file: Path | None = None
    """A file that holds its password."""
    bounces_imap_every: Duration = 60.0
    """How often the mailbox is looked at."""
    soft_bounces: Annotated[int, Field(ge=0, le=1000)] = 5
    """So many soft bounces within `SOFT_BOUNCES_WITHIN` suppress an address for 30 days; 0 never does."""
    soft_bounces_within: Duration = 7 * 86_400.0
    """The time in which soft bounces are counted."""
    public_url: str = "http://127.0.0.1:8000"
    """Base of links in mails, and where `leadstream lead submit` posts to."""
    rate_limit: Annotated[Rate | None, NoDecode, BeforeValidator(parse_rate)] = Rate(50, 60_000)
    """All workers together: `off`, `N/s`, `N/min`, `N/h`."""
    rate_limit_domains: Annotated[DomainRates, NoDecode, BeforeValidator(parse_domain_rates)] = DomainRates()
    """Per recipient domain or group of domains, beside the global one: `gmail.com=20/min,google=5/s`."""
    concurrency_domains: Annotated[DomainCounts, NoDecode, BeforeValidator(parse_counts)] = DomainCounts()
    """How many mails at a time go to a recipient domain or group, from all workers together: `gmail.com=4,*=10`; `*`
    is for every domain or group that is not named."""
    mx_groups: Annotated[DomainGroups, NoDecode, BeforeValidator(parse_groups)] = parse_groups(WELL_KNOWN)
    """Domains that count as one, because one operator receives their mail: `google=gmail.com|*.google.com,...`, or
    `off`. A pattern is a domain, or `*.` and what it ends in."""
    slow_down: bool = True
    """Whether a domain (or its group) gets fewer mails after a reply that names rate or reputation, from all workers
    together: half as many after each such reply, a little more every minute after it."""
    warm_up_start: date | None = None
    """The first day (UTC) of a new sender's warm-up, as `2026-12-01`; none: there is none."""
    warm_up: Annotated[tuple[int, ...], NoDecode, BeforeValidator(parse_warm_up)] = DOUBLING
    """How many mails may go out in 24 hours, one number for each day of the warm-up: `50/day,100/day,200/day`. After
    the last one it is over."""
    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """Attempts after the first one."""
    retry_delays: Annotated[tuple[float, ...], NoDecode, BeforeValidator(parse_durations)] = (60.0, 120.0, 240.0)
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
    """How long leads and what became of them are kept in Redis after every group has finished them; `off` keeps
    everything. Without a value: 7 days with an archive, `off` without."""
    archive_url: Annotated[str | None, AfterValidator(known_archive)] = None
    """Where what is older than `RETAIN` goes before it is trimmed: a folder, `file:///path` or `s3://bucket/prefix`;
    none: trimmed is gone."""
    archive_keep: Annotated[float | None, NoDecode, BeforeValidator(parse_archive_keep)] = None
    """How long the archive keeps entries; `off` keeps everything. A whole number of days, up to 100 years."""
    projections_auto_rebuild: bool = False
    """Whether the projections service itself counts a projection anew whose definition changed. Only where all of its
    processes are replaced at once: older ones would go on counting by the old definition."""
    summary_to: Address | None = None
    """Who gets a mail every day that says what was sent and what needs a look; none sends none."""
    summary_at: Annotated[str, BeforeValidator(parse_time_of_day)] = "07:00"
    """When, in UTC, as `HH:MM`. What could not be sent then is sent as soon as it can be."""
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
    turnstile_secret: SecretStr | None = None
    """The secret key of a Cloudflare Turnstile widget: leads that come with a publishable key then need its token. No
    other way in asks for one."""
    turnstile_secret_file: Path | None = None
    """A file that holds it."""
    turnstile_url: str = "https://challenges.cloudflare.com/turnstile/v0/siteverify"
    """Where tokens are checked."""
    turnstile_timeout: Duration = 3.0
    """How long the answer may take."""
    turnstile_unanswered: OnUnanswered = OnUnanswered.ACCEPT
    """When nobody answers whether a token is good: `accept` takes the lead, or `refuse` answers 503."""
    dkim_selector: str | None = None
    """Signs mails with rsa-sha256 (RFC 6376), together with `DKIM_KEY_FILE`: where in DNS the public key is."""
    dkim_key_file: Path | None = None
    """The RSA key, in PEM; `leadstream dkim new-key` makes one."""
    dkim_ed25519_selector: str | None = None
    """A second signature with ed25519-sha256 (RFC 8463), beside the first."""
    dkim_ed25519_key_file: Path | None = None
    """The Ed25519 key, in PEM."""
    dkim_domain: str | None = None
    """Who signs; the domain of `MAIL_FROM` if not set. DMARC wants the two to match."""
    feedback_id: Annotated[str, Field(min_length=5, max_length=15, pattern=r"^[A-Za-z0-9.-]+$")] = "leadstream"
    """The sender in the header `Feedback-ID`, by which Gmail's Postmaster Tools group mails."""
    signing_secret_file: Path | None = None
    """Secrets that sign return paths and unsubscribe links, one a line, the newest first; without it, one is made
    and kept in Redis."""
    encryption: Annotated[Encryption, BeforeValidator(parse_switch)] = Encryption.ON
    """`on` seals each lead's personal data under a key of its own, which erasure destroys; `off` stores new leads in
    the clear, for development."""
    encryption_keys_file: Path | None = None
    """Key-encryption keys that wrap the leads' keys, lines `<id> <base64 of 32 bytes>`, the newest first (`leadstream
    encryption new-key` makes one). Without it whoever reads Redis can read leads."""
    unsubscribe_mailto: Address | None = None
    """An address that a person reads, named in `List-Unsubscribe` beside the link; mails to it change nothing."""
    webhook_ses_topics: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_topics)] = ()
    """ARNs of the SNS topics, with commas between, whose messages `POST /webhooks/ses` takes; none: there is no such
    webhook."""
    webhook_sendgrid_key: str | None = None
    """The public verification key of SendGrid's signed event webhook (`POST /webhooks/sendgrid`)."""
    webhook_mailgun_key: SecretStr | None = None
    """Mailgun's HTTP webhook signing key (`POST /webhooks/mailgun`)."""
    webhook_mailgun_key_file: Path | None = None
    """A file that holds it."""
    webhook_postmark_token: SecretStr | None = None
    """The password in the address that Postmark is given (`POST /webhooks/postmark`), 16 or more characters."""
    webhook_postmark_token_file: Path | None = None
    """A file that holds it."""
    log_format: LogFormat = LogFormat.TEXT
    """`text` or `json`, on standard error."""
    otel_exporter: Annotated[str, BeforeValidator(parse_exporter)] = "off"
    """Where OpenTelemetry spans go: `off`, `otlp` (see `OTEL_EXPORTER_OTLP_ENDPOINT`), `console` or `file:PATH`."""
    metrics_listen: Annotated[str | None, BeforeValidator(host_port)] = None
    """Where every service but the API answers `/metrics`, `/health/live` and `/health/ready`, as `127.0.0.1:9100`; port
    0 takes a free one, which the log names; none: nowhere. It asks nobody who he is: not for a public network."""
    heartbeat_file: Annotated[Path | None, BeforeValidator(lambda value: value or None)] = None
    """A file made new every five seconds while a service's loops turn, for health checks; the images set it."""
    stalled_after: Duration = 60.0
    """A consumer with work that finishes none for so long is not ready, unless a limit of all mails holds it back."""
    error_webhook: Annotated[SecretStr | None, AfterValidator(known_webhook)] = None
    """A URL that gets each error of a service as JSON without personal data, the same one once a minute."""

    @model_validator(mode="after")
    def _one_way_to_redis(self) -> Settings:
        self.redis.check()
        return self

    @model_validator(mode="after")
    def _retain_with_archive(self) -> Settings:
        if self.archive_url is not None and "retain" not in self.model_fields_set:
            object.__setattr__(self, "retain", RETAIN_WITH_ARCHIVE_S)
        return self

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

    @property
    def redis(self) -> RedisAccess:
        """How Redis is reached."""
        password = self.redis_password.get_secret_value() if self.redis_password else None
        return RedisAccess(
            self.redis_url,
            self.redis_username,
            password,
            self.redis_password_file,
            self.redis_ca_file,
            self.redis_cert_file,
            self.redis_key_file,
        )

    def masked(self) -> dict[str, Any]:
        """Returns every setting as text that can be shown, secrets replaced by `***`."""
        out = {name: getattr(self, name) for name in type(self).model_fields}
        out["redis_url"] = mask_url(self.redis_url)
        out["smtp_url"] = mask_url(self.smtp_url.get_secret_value())
        hidden = {name: "***" for name, value in out.items() if isinstance(value, SecretStr)}
        return {name: value if value is None else str(value) for name, value in (out | hidden).items()}


def load_settings(**overrides: Any) -> Settings:
    """Reads the configuration; raises `ConfigurationError` with one line per wrong setting."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            message = item["msg"].removeprefix("Value error, ")
            # Without a place it is about several settings, and names them itself.
            lines.append(f"{PREFIX}{str(item['loc'][0]).upper()}: {message}" if item["loc"] else message)
        raise ConfigurationError("\n".join(lines)) from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"leadstream.toml cannot be read: {type(error).__name__}: {error}") from None
