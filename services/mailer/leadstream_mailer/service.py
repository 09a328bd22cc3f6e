"""The mailer service: one sender per partition, sharing connections, limits and the directory."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import AsyncExitStack
from dataclasses import replace

from structlog.stdlib import get_logger

from leadstream_events import keys
from leadstream_events.directory import Directory
from leadstream_events.errors import ConfigurationError
from leadstream_events.redis_client import Client, classify, connect
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.handler import Handler
from leadstream_events.runtime.service import boot_name, consumer, policy_of, run_service
from leadstream_events.settings import Settings
from leadstream_events.writer import PipelinedWriter
from leadstream_mail.build import MailBuilder
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mail.templates import Templates
from leadstream_mailer.attempting import Attempter
from leadstream_mailer.content import Contents
from leadstream_mailer.copies import settle_late
from leadstream_mailer.limiter import Limiter
from leadstream_mailer.sender import Sender
from leadstream_mailer.unsettled import Unsettled, settle_left_behind
from leadstream_mailer.verdict import Rules

logger = get_logger("leadstream.mailer")


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


async def settle_what_was_left(settings: Settings, name: str) -> None:
    """Tells Redis what mailers that died during an outage could not; before any mail is read, so that none goes twice.

    Redis trouble ends it early: what is left waits for the next start.
    """
    client = connect(settings.redis_url, timeout_s=5.0)
    try:
        count = await settle_left_behind(
            settings.data_dir, lambda partition, settlement: settle_late(client, partition, name, settlement)
        )
        if count:
            logger.info("settled what a dead mailer had left", count=count)
    except Exception as error:
        if classify(error) is None and not isinstance(error, sqlite3.Error):
            raise
        logger.warning("what a dead mailer left cannot be settled now", error=type(error).__name__)
    finally:
        await client.aclose()


async def build(stack: AsyncExitStack, settings: Settings, pool: SmtpPool, builder: MailBuilder) -> list[Consumer]:
    """Wires one consumer per partition."""
    name = boot_name("mailer")
    # The sender itself gives up poison: a mail that fails has a row, an outcome and a purchased lead to give back.
    policy = replace(policy_of(settings), max_deliveries=sys.maxsize)
    limited = settings.rate_limit is not None or bool(settings.rate_limit_domains.by_domain)
    unsettled = await stack.enter_async_context(Unsettled(settings.data_dir, name))
    await settle_what_was_left(settings, name)
    consumers = []
    for partition in range(settings.partitions):
        writers: list[PipelinedWriter] = []
        directories: list[Directory] = []

        def make_sender(
            client: Client,
            writers: list[PipelinedWriter] = writers,
            directories: list[Directory] = directories,
            partition: int = partition,
        ) -> Handler:
            writers.append(PipelinedWriter(client))
            directories.append(Directory(client))
            return Sender(
                client,
                owner=name,
                lease_s=settings.lease,
                rules=rules_of(settings),
                directory=directories[0],
                limiter=Limiter(client, settings.rate_limit, settings.rate_limit_domains),
                attempter=Attempter(name, rules_of(settings), Contents(client, builder), pool, writers[0]),
                concurrency=settings.smtp_connections * (1 if limited else 4),
                unsettled=unsettled,
                partition=partition,
                max_deliveries=settings.max_deliveries,
            )

        async def look_again(directories: list[Directory] = directories) -> None:
            for directory in directories:  # a group that had to be created again: Redis may have lost data
                directory.forget()

        made = consumer(
            settings,
            policy,
            group=keys.MAILER,
            partition=partition,
            streams=[keys.EMAILS],
            name=name,
            make_handler=make_sender,
            stuck=unsettled.stuck,
            on_group_created=look_again,
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
