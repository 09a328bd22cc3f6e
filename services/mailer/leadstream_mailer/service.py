"""The mailer service: one sender per partition, sharing connections, limits and the directory."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from structlog.stdlib import get_logger

from leadstream_events import keys
from leadstream_events.directory import Directory
from leadstream_events.redis_client import Client, classify, connect
from leadstream_events.redis_joint import joint
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.handler import Handler
from leadstream_events.runtime.service import Runnable, boot_name, consumer, policy_of, run_service
from leadstream_events.settings import Settings
from leadstream_events.signing import signing_secrets
from leadstream_events.vault import Sealer, sealer_of
from leadstream_events.writer import PipelinedWriter
from leadstream_mail.attempt_rules import rules_of
from leadstream_mail.build import MailBuilder
from leadstream_mail.from_settings import make_builder
from leadstream_mail.marks import Marks
from leadstream_mail.return_path import return_paths
from leadstream_mail.smtp.from_settings import make_pool
from leadstream_mail.smtp.pool import SmtpPool
from leadstream_mailer import metrics
from leadstream_mailer.attempting import Attempter
from leadstream_mailer.bounds import care_of
from leadstream_mailer.content import Contents
from leadstream_mailer.copies import settle_late
from leadstream_mailer.daily_summary import DailySummary
from leadstream_mailer.limiter import Limiter
from leadstream_mailer.phase_notes import PhaseNotes
from leadstream_mailer.sender import Sender
from leadstream_mailer.unsettled import Unsettled, settle_left_behind

logger = get_logger("leadstream.mailer")

# What the mails of one lead have to tell Redis comes within a moment of each other.
_GATHER_S = 0.001
# Mails under way for each connection. While some wait for the server, others are read, built and settled, and the next
# one's commands go out with the content of the one before it. With limits, mails must not be begun before their turn.
_MAILS_PER_CONNECTION = 8


async def settle_what_was_left(settings: Settings, name: str) -> None:
    """Tells Redis what mailers that died during an outage could not; before any mail is read, so that none goes twice.

    Redis trouble ends it early: what is left waits for the next start.
    """
    client = connect(settings.redis, timeout_s=5.0)
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


async def secrets_of(settings: Settings) -> Sequence[bytes]:
    """The secrets that sign return paths, from the settings or from Redis. Redis errors pass through."""
    client = connect(settings.redis, timeout_s=5.0)
    try:
        return await signing_secrets(client, settings)
    finally:
        await client.aclose()


class _Wiring:
    """What the sender of one partition is made of. Its consumer calls `make_sender` once, with its Redis client."""

    def __init__(
        self, settings: Settings, name: str, partition: int, pool: SmtpPool, builder: MailBuilder,
        unsettled: Unsettled, secrets: Sequence[bytes], sealer: Sealer,
    ) -> None:  # fmt: skip
        self._settings, self._name, self._partition = settings, name, partition
        self._pool, self._builder, self._unsettled, self._sealer = pool, builder, unsettled, sealer
        self._secrets = secrets
        self._return_paths, self._marks = return_paths(settings, secrets), Marks(settings, secrets)
        self._directory: Directory | None = None

    def make_sender(self, client: Client, writer: PipelinedWriter) -> Handler:
        settings = self._settings
        care = care_of(settings)
        asking = joint(client)  # before a mail is begun, several things are asked side by side
        self._directory = Directory(asking, self._secrets)
        limiter = Limiter(client, care)
        contents, rules = Contents(asking, self._builder, self._sealer), rules_of(settings)
        return Sender(
            asking,
            owner=self._name,
            lease_s=settings.lease,
            rules=rules,
            directory=self._directory,
            limiter=limiter,
            attempter=Attempter(
                rules, contents, self._pool, PhaseNotes(writer, self._name), self._return_paths, self._marks, limiter
            ),
            concurrency=settings.smtp_connections * (1 if care.limits else _MAILS_PER_CONNECTION),
            unsettled=self._unsettled,
            partition=self._partition,
            max_deliveries=settings.max_deliveries,
        )

    async def look_again(self) -> None:
        """A group had to be created again: Redis may have lost data."""
        if self._directory is not None:
            self._directory.forget()


async def daily_summary(stack: AsyncExitStack, settings: Settings, pool: SmtpPool) -> list[Runnable]:
    """The operator's daily mail, if it is wanted; its connection closes with the stack."""
    if settings.summary_to is None:
        return []
    client = connect(settings.redis, timeout_s=5.0)
    stack.push_async_callback(client.aclose)
    return [DailySummary(client, settings, pool, boot_name("summary"))]


async def build(
    stack: AsyncExitStack, settings: Settings, pool: SmtpPool, builder: MailBuilder, sealer: Sealer
) -> list[Consumer]:
    """Wires one consumer per partition."""
    name = boot_name("mailer")
    # The sender itself gives up poison: a mail that fails has a row, an outcome and a purchased lead to give back.
    policy = replace(policy_of(settings), max_deliveries=sys.maxsize)
    unsettled = await stack.enter_async_context(Unsettled(settings.data_dir, name))
    await settle_what_was_left(settings, name)
    secrets = await secrets_of(settings)
    consumers = []
    for partition in range(settings.partitions):
        wiring = _Wiring(settings, name, partition, pool, builder, unsettled, secrets, sealer)
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
            gather_s=_GATHER_S,
        )
        consumers.append(await stack.enter_async_context(made))
    return consumers


async def run(settings: Settings) -> None:
    """Runs the service until SIGTERM or SIGINT. `ConfigurationError` at once for templates or settings that fail."""
    sealer, pool = sealer_of(settings), make_pool(settings)
    builder = make_builder(settings)
    metrics.watch(pool, settings.rate_limit)

    async def everything(stack: AsyncExitStack) -> list[Runnable]:
        return [*await build(stack, settings, pool, builder, sealer), *await daily_summary(stack, settings, pool)]

    try:
        await run_service("mailer", settings, everything)
    finally:
        await pool.close()
