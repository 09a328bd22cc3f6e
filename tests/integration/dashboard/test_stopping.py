"""The API as a process: an open live view neither holds up its end nor outlives it."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from tests.integration.api.conftest import api_process as api_process  # the fixture
from tests.support.process import ServiceProcess


def test_an_open_live_view_does_not_hold_up_the_end_of_the_process(
    api_process: Callable[..., tuple[ServiceProcess, str]], redis_url: str
) -> None:
    process, base = api_process(redis_url)
    with (
        httpx.Client(trust_env=False, timeout=20.0) as client,
        client.stream("GET", f"{base}/events?view=overview") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert any(line.startswith("event: regions") for line in lines)
        began = time.monotonic()
        assert process.terminate() == 0
        assert time.monotonic() - began < 4.0  # uvicorn would wait five seconds for the answer to end
        assert all(isinstance(line, str) for line in lines)  # the stream ends, and as it should
