"""The mailer service: one sender per partition, sharing connections, limits and the directory."""

from __future__ import annotations

from contextlib import AsyncExitStack

from leadstream_events import keys
from leadstream_events.directory import Directory
from leadstream_events.errors import ConfigurationError
from leadstream_events.redis_client import Client
from leadstream_events.runtime.consumer import Consumer, Handler
from leadstream_events.runtime.service import boot_name, consumer, policy_of, run_service
from leadstream_events.settings import Settings
from leadstream_events.writer import PipelinedWriter
from leadstream_mail.build import MailBuilder
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mail.templates import Templates
from leadstream_mailer.attempting import Attempter
from leadstream_mailer.content import Contents
from leadstream_mailer.limiter import Limiter
from leadstream_mailer.sender import Sender
from leadstream_mailer.verdict import Rules


def smtp_password(settings: Settings) -> str | None:
    """The password from the setting or from its file; None leaves what the URL says."""
    if settings.smtp_password:
        return settings.smtp_password.get_secret_value()
    if settings.smtp_password_file is None:
        return None
    try:
        return settings.smtp_password_file.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"LEADSTREAM_SMTP_PASSWORD_FILE cannot be read: {error.strerror}") from None


def make_pool(settings: Settings) -> SmtpPool:
    """The connection pool that the settings ask for; nothing is dialed yet."""
    return SmtpPool(
        settings.smtp_url.get_secret_value(),
        smtp_password(settings),
        connections=settings.smtp_connections,
        timeout_s=settings.smtp_timeout,
        data_timeout_s=settings.smtp_data_timeout,
    )


def rules_of(settings: Settings) -> Rules:
    """What the settings say about attempts."""
    return Rules(settings.mail_from, settings.max_attempts, settings.retry_delays, settings.on_unknown)


async def build(stack: AsyncExitStack, settings: Settings, pool: SmtpPool, builder: MailBuilder) -> list[Consumer]:
    """Wires one consumer per partition."""
    name, policy = boot_name("mailer"), policy_of(settings)
    limited = settings.rate_limit is not None or bool(settings.rate_limit_domains.by_domain)
    consumers = []
    for partition in range(settings.partitions):
        writers: list[PipelinedWriter] = []

        def make_sender(client: Client, writers: list[PipelinedWriter] = writers) -> Handler:
            writers.append(PipelinedWriter(client))
            return Sender(
                client,
                owner=name,
                lease_s=settings.lease,
                rules=rules_of(settings),
                directory=Directory(client),
                limiter=Limiter(client, settings.rate_limit, settings.rate_limit_domains),
                attempter=Attempter(name, rules_of(settings), Contents(client, builder), pool, writers[0]),
                concurrency=settings.smtp_connections * (1 if limited else 2),
            )

        made = consumer(
            settings,
            policy,
            group=keys.MAILER,
            partition=partition,
            streams=[keys.EMAILS],
            name=name,
            make_handler=make_sender,
        )
        consumers.append(await stack.enter_async_context(made))
        await stack.enter_async_context(writers[0])
    return consumers


async def run(settings: Settings) -> None:
    """Runs the service until SIGTERM or SIGINT. `ConfigurationError` at once for templates or settings that fail."""
    pool = make_pool(settings)
    builder = MailBuilder(Templates.load(settings.templates_dir), settings.mail_from, settings.public_url)
    try:
        await run_service("mailer", settings, lambda stack: build(stack, settings, pool, builder))
    finally:
        await pool.close()
