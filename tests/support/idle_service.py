"""A service as small as can be: one consumer that acknowledges whatever it reads, run as its own process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from leadstream_events import keys
from leadstream_events.effects import Settlement
from leadstream_events.redis_client import Client
from leadstream_events.runtime.batch import Handle
from leadstream_events.runtime.consumer import Consumer
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.runtime.service import batch_consumer, boot_name, policy_of, run_service
from leadstream_events.settings import Settings, load_settings


async def handle(batch: Sequence[Delivery]) -> list[Settlement]:
    """Finishes everything."""
    return [Settlement(item.stream, item.entry_id) for item in batch]


async def main(settings: Settings) -> None:
    """Runs until a signal."""

    def make(_: Client) -> Handle:
        return handle

    async def build(stack: AsyncExitStack) -> list[Consumer]:
        wiring = batch_consumer(
            settings,
            policy_of(settings),
            group="idle",
            partition=0,
            streams=[keys.LEADS],
            name=boot_name("idle"),
            make_handle=make,
        )
        return [await stack.enter_async_context(wiring)]

    await run_service("idle", settings, build)


if __name__ == "__main__":
    asyncio.run(main(load_settings()))
