"""The bounce receiver as a service: SMTP, LMTP and a mailbox, all into one `Intake`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

from structlog.stdlib import get_logger

from leadstream_bounces.intake import Intake
from leadstream_bounces.kept import let_go
from leadstream_bounces.mailbox import MailboxPoller, open_mailbox
from leadstream_bounces.proofs import addresses_of
from leadstream_bounces.receiver import receivers
from leadstream_events import refused_rounds
from leadstream_events.errors import ConfigurationError
from leadstream_events.redis_client import Client, connect
from leadstream_events.runtime.service import Runnable, run_service
from leadstream_events.settings import Settings
from leadstream_events.signing import signing_secrets

logger = get_logger("leadstream.bounces")

_TIDY_EVERY_S = 3600.0


class _Tidier:
    """Lets go of kept mails whose time is over, also when no new one comes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        while not self._stopping.is_set():
            try:
                await let_go(self._client)
            except Exception as error:
                refused_rounds.tolerate(error, "letting kept reports go")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _TIDY_EVERY_S)

    def stop(self) -> None:
        self._stopping.set()


def check_addresses(settings: Settings) -> None:
    """Raises `ConfigurationError` when there is no address to take mail for."""
    if settings.return_path is None and settings.abuse_to is None:
        raise ConfigurationError(
            "LEADSTREAM_RETURN_PATH: set the address that bounces come back to, as bounce@mail.example.com "
            "(or LEADSTREAM_ABUSE_TO); the bounce receiver takes mail for nobody else"
        )


def check(settings: Settings) -> None:
    """Raises `ConfigurationError` when there is no address to take mail for, or no door to take it by."""
    check_addresses(settings)
    if not settings.bounces_listen and settings.bounces_imap_url is None:
        raise ConfigurationError("LEADSTREAM_BOUNCES_LISTEN is off: set it, or LEADSTREAM_BOUNCES_IMAP_URL")


async def build(stack: AsyncExitStack, settings: Settings) -> list[Runnable]:
    """Wires everything; returns what is to be run."""
    client = connect(settings.redis, timeout_s=5.0)
    stack.push_async_callback(client.aclose)
    addresses = addresses_of(settings)
    intake = Intake(client, settings, await signing_secrets(client, settings))
    hostname = (settings.return_path or settings.abuse_to or "").rpartition("@")[2]
    doors = receivers(settings.bounces_listen, intake, addresses, hostname=hostname, drain_s=settings.drain_deadline)
    for door in doors:
        await door.start()
    items: list[Runnable] = [*doors, _Tidier(client)]
    if settings.bounces_imap_url is not None:
        items.append(MailboxPoller(open_mailbox(settings), intake, settings.bounces_imap_every))
    return items


async def run(settings: Settings) -> None:
    """Runs the service until SIGTERM or SIGINT. `ConfigurationError` at once for settings that cannot work."""
    check(settings)

    async def wire(stack: AsyncExitStack) -> Sequence[Runnable]:
        return await build(stack, settings)

    await run_service("bounces", settings, wire)
