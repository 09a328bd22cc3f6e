"""The API over a real Redis: in this loop for the many input cases, and as a process for what a process does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from leadstream_api.app import create_app
from leadstream_events.settings import Settings
from tests.support.process import ServiceProcess

ROOT = Path(__file__).parents[3]
READY = "api ready on "
PATIENCE_S = 10.0
LEAD = {"full_name": "Dana Example", "email": "dana@example.com"}


@asynccontextmanager
async def api_client(settings: Settings, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An app with its lifespan, reached without a socket; `more` is for `create_app`.

    A busy machine must not make it fall back where that is not what a test is about, so it waits for Redis for long
    unless the settings say how long.
    The lifespan has a task of its own: it must end in the task it began in, and fixtures end in another one.
    """
    if "append_deadline" not in settings.model_fields_set:
        settings = settings.model_copy(update={"append_deadline": PATIENCE_S})
    app, ready, done = create_app(settings, **more), asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            ready.set()
            await done.wait()

    living = asyncio.create_task(live())
    await ready.wait()
    try:
        transport = httpx.ASGITransport(app=cast(Any, app))  # the same protocol, typed more narrowly by Litestar
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
    finally:
        done.set()
        await living


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The API on an empty server."""
    async with api_client(settings) as client:
        yield client


@pytest.fixture
def api_process(tmp_path: Path) -> Iterator[Callable[..., tuple[ServiceProcess, str]]]:
    """Starts the API as a process on a free port; returns it and its address."""
    started: list[ServiceProcess] = []

    def start(redis_url: str, **variables: str) -> tuple[ServiceProcess, str]:
        process = ServiceProcess(
            [],
            env={
                "LEADSTREAM_REDIS_URL": redis_url,
                "LEADSTREAM_DATA_DIR": str(tmp_path / "data"),
                "LEADSTREAM_CONFIG": str(tmp_path / "absent.toml"),
                "LEADSTREAM_APPEND_DEADLINE": f"{PATIENCE_S:g}s",
                **variables,
            },
            output=tmp_path / f"api-{len(started)}.log",
            ready_line=READY,
            module="tests.integration.api.api_process",
            cwd=ROOT,
        )
        started.append(process)
        process.start()
        line = next(line for line in process.text().splitlines() if READY in line)
        return process, line.partition(READY)[2].strip()

    yield start
    for process in started:
        process.kill()
