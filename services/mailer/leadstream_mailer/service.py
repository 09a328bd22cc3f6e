"""The mailer service: one sender per partition, sharing connections, limits and the directory."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import AsyncExitStack
from dataclasses import replace

from structlog.stdlib import get_logger

from leadstream_events import keys
from leadstream_events.directory import Directory
from leadstream_events.redis_client import Client, classify, connect
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.handler import Handler
from leadstream_events.runtime.service import boot_name, consumer, policy_of, run_service
from leadstream_events.settings import Settings
from leadstream_events.writer import PipelinedWriter
from leadstream_mail.attempt_rules import rules_of
from leadstream_mail.build import MailBuilder
from leadstream_mail.smtp.from_settings import make_pool
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mail.templates import Templates
from leadstream_mailer.attempting import Attempter
from leadstream_mailer.content import Contents
from leadstream_mailer.copies import settle_late
from leadstream_mailer.limiter import Limiter
from leadstream_mailer.sender import Sender
from leadstream_mailer.unsettled import Unsettled, settle_left_behind

logger = get_logger("leadstream.mailer")


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


class _Wiring:
    """What the sender of one partition is made of. Its consumer calls `make_sender` once, with its Redis client."""

    def __init__(
        self, settings: Settings, name: str, partition: int, pool: SmtpPool, builder: MailBuilder, unsettled: Unsettled
    ) -> None:
        self._settings, self._name, self._partition = settings, name, partition
        self._pool, self._builder, self._unsettled = pool, builder, unsettled
        self._directory: Directory | None = None
        self.writer: PipelinedWriter | None = None

    def make_sender(self, client: Client) -> Handler:
        settings = self._settings
        limited = settings.rate_limit is not None or bool(settings.rate_limit_domains.by_domain)
        self.writer, self._directory = PipelinedWriter(client), Directory(client)
        contents, rules = Contents(client, self._builder), rules_of(settings)
        return Sender(
            client,
            owner=self._name,
            lease_s=settings.lease,
            rules=rules,
            directory=self._directory,
            limiter=Limiter(client, settings.rate_limit, settings.rate_limit_domains),
            attempter=Attempter(self._name, rules, contents, self._pool, self.writer),
            concurrency=settings.smtp_connections * (1 if limited else 4),
            unsettled=self._unsettled,
            partition=self._partition,
            max_deliveries=settings.max_deliveries,
        )

    async def look_again(self) -> None:
        """A group had to be created again: Redis may have lost data."""
        if self._directory is not None:
            self._directory.forget()


async def build(stack: AsyncExitStack, settings: Settings, pool: SmtpPool, builder: MailBuilder) -> list[Consumer]:
    """Wires one consumer per partition."""
    name = boot_name("mailer")
    # The sender itself gives up poison: a mail that fails has a row, an outcome and a purchased lead to give back.
    policy = replace(policy_of(settings), max_deliveries=sys.maxsize)
    unsettled = await stack.enter_async_context(Unsettled(settings.data_dir, name))
    await settle_what_was_left(settings, name)
    consumers = []
    for partition in range(settings.partitions):
        wiring = _Wiring(settings, name, partition, pool, builder, unsettled)
        made = consumer(
            settings,
            policy,
            group=keys.MAILER,
            partition=partition,
            streams=[keys.EMAILS],
            name=name,
            make_handler=wiring.make_sender,
            stuck=unsettled.stuck,
            on_group_created=wiring.look_again,
        )
        consumers.append(await stack.enter_async_context(made))
        assert wiring.writer is not None  # noqa: S101  -- the consumer has made its handler
        await stack.enter_async_context(wiring.writer)
    return consumers


async def run(settings: Settings) -> None:
    """Runs the service until SIGTERM or SIGINT. `ConfigurationError` at once for templates or settings that fail."""
    pool = make_pool(settings)
    builder = MailBuilder(Templates.load(settings.templates_dir), settings.mail_from, settings.public_url)
    try:
        await run_service("mailer", settings, lambda stack: build(stack, settings, pool, builder))
    finally:
        await pool.close()
