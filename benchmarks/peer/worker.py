"""`python -m benchmarks.peer.worker fanout|mailer|projections`: a service, after taking over the subscribers.

The yardstick keeps them in a hash of its own and empties Redis between phases, so each worker looks at its start.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from benchmarks.peer.adapter import bench_settings
from leadstream_events import logs
from leadstream_events.errors import Conflict
from leadstream_events.redis_client import connect
from leadstream_events.schemas.subscriber import SubscriberDraft
from leadstream_events.settings import LogFormat, Settings
from leadstream_events.subscribers import SubscriberStore, utc_now


async def take_over(settings: Settings) -> None:
    """Adds every subscriber of the yardstick that is not there yet."""
    client = connect(settings.redis_url, timeout_s=5.0)
    store = SubscriberStore(client)
    for number, address in sorted((await client.hgetall("bench:subscribers")).items()):
        try:
            await store.add(SubscriberDraft(email=address.decode(), name=f"Dealer {number.decode()}"), utc_now())
        except Conflict:
            continue
    await client.aclose()


def main(service: str) -> None:
    """Runs one service until it is stopped."""
    settings = bench_settings()
    logs.setup(LogFormat.TEXT, service)
    uvloop.run(take_over(settings))
    if service == "fanout":
        from leadstream_mailer.fanout import run
    elif service == "mailer":
        from leadstream_mailer.service import run
    else:
        from leadstream_projections.service import run
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))


if __name__ == "__main__":
    main(sys.argv[1])
