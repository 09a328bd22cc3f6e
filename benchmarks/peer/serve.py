"""`python -m benchmarks.peer.serve api|fanout|mailer|projections ...`: what `leadstream serve` runs, for the yardstick.

It differs in two things: the API stands behind the translation of the yardstick's lead, and each worker takes over the
subscribers first, because the yardstick keeps them in a hash of its own and empties Redis between phases.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import uvloop

from benchmarks.peer.adapter import Adapter, bench_settings
from leadstream_cli.serving.__main__ import keep
from leadstream_cli.serving.children import Child, make_children
from leadstream_events import logs
from leadstream_events.errors import Conflict
from leadstream_events.redis_client import connect
from leadstream_events.schemas.subscriber import SubscriberDraft
from leadstream_events.settings import Settings
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


def after_taking_over(child: Child, settings: Settings) -> Child:
    """The worker as the yardstick needs it."""

    def work() -> None:
        uvloop.run(take_over(settings))
        child.work()

    return child if child.listening else replace(child, work=work)


def main(services: Sequence[str]) -> int:
    """Runs the services until they are stopped; returns the exit code."""
    settings = bench_settings()
    logs.setup(settings.log_format, "serve")
    children = make_children(services, settings, around=Adapter)
    return keep([after_taking_over(child, settings) for child in children], settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
