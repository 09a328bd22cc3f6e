"""A client to look at and change what the consumer works on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from leadstream_events.redis_client import Client, connect


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    made = connect(redis_url, timeout_s=5.0)
    yield made
    await made.aclose()
