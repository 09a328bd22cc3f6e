"""The Faust app: one channel and one agent per projection, no broker, no tables, no web server.

Delivery is not Faust's: the consumer runtime hands each batch over as one value with a future, and finishes its
entries through `lua/commit.lua` once the agent has answered. An agent never loses a batch: what goes wrong becomes
the future's exception. See docs/decisions/0005-faust-without-kafka.md.

Periodic work belongs here: `@app.timer` and `@app.crontab` run while the app does. They know no leader; guard what
may run only once at a time with a lease in Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from leadstream_projections.lean_faust import WITHOUT_AIOHTTP  # before faust  # isort: skip
import faust
from faust.app.base import BootStrategy

from leadstream_events.effects import Settlement
from leadstream_events.lean_imports import standing_in
from leadstream_events.runtime.delivery import Delivery
from leadstream_projections.counters import Projection
from leadstream_projections.store import settlements


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What an agent gets: deliveries of one partition, and where the answer goes."""

    partition: int
    generation: int
    deliveries: Sequence[Delivery]
    answer: asyncio.Future[list[Settlement]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def finish(self, projection: Projection) -> None:
        """Computes the settlements; an exception becomes the answer too, so that the runtime can split the batch."""
        try:
            result = settlements(projection, self.partition, self.generation, self.deliveries)
        except Exception as error:
            outcome: list[Settlement] | Exception = error
        else:
            outcome = result
        if self.answer.done():  # nobody waits any more: the process is stopping
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class WithoutBroker(BootStrategy):
    """Starts agents and timers, and nothing that talks to Kafka, serves HTTP or recovers tables."""

    enable_kafka = False
    enable_kafka_consumer = False
    enable_kafka_producer = False
    enable_web = False
    enable_sensors = False


class ProjectionApp(faust.App):
    """A Faust app for these projections. Run it with `async with` under any asyncio loop."""

    BootStrategy = WithoutBroker

    def __init__(self, projections: Sequence[Projection]) -> None:
        super().__init__(
            "leadstream-projections",
            store="memory://",
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=False,  # else one unfinished value blocks SIGTERM for minutes
            stream_recovery_delay=0.0,
        )
        with standing_in(WITHOUT_AIOHTTP):
            self._channels: dict[str, Any] = {item.name: self._start_agent(item) for item in projections}

    async def __aenter__(self) -> ProjectionApp:
        await super().__aenter__()
        return self

    def _start_agent(self, projection: Projection) -> Any:
        channel = self.channel()

        async def agent(batches: Any) -> None:
            async for batch in batches:
                batch.finish(projection)

        self.agent(channel, name=projection.group)(agent)
        return channel

    async def on_started(self) -> None:
        """Opens the channels: Faust keeps them shut until Kafka has assigned partitions, which never comes."""
        await super().on_started()
        self.flow_control.resume()

    async def project(self, projection: Projection, batch: Batch) -> list[Settlement]:
        """Has the projection's agent turn a batch into settlements; raises what the projection raised."""
        await self._channels[projection.name].send(value=batch)
        return await batch.answer

    def _create_directories(self) -> None:
        """Faust makes directories for tables in the working directory; here are no tables."""
