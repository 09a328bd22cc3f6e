"""Fixtures for the Lua verbs: a client as the services make it, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client, connect
from leadstream_events.redrive import Redriver
from leadstream_events.writer import PipelinedWriter


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    made = connect(redis_url, timeout_s=5.0)
    yield made
    await made.aclose()


@pytest.fixture
async def log(client: Client) -> AsyncIterator[StreamLog]:
    async with PipelinedWriter(client) as writer:
        yield StreamLog(client, writer, partitions=1, deadline_s=2.0)


@pytest.fixture
def redriver(log: StreamLog) -> Redriver:
    return Redriver(log, lease_s=60.0)
