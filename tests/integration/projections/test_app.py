"""The Faust app as the runtime uses it: no broker, no files, and no batch lost to an agent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leadstream_events import keys
from leadstream_events.envelope import encode, make_event
from leadstream_events.runtime.delivery import Delivery, make_delivery
from leadstream_events.schemas import events as e
from leadstream_projections.app import Batch, ProjectionApp
from leadstream_projections.counters import PROJECTIONS, TOTALS, Countable, Increments, Place, Projection
from leadstream_projections.service import AppGuard

DEADLINE_S = 20.0


def delivery(number: int) -> Delivery:
    event = make_event(e.LeadErased(by="x"), subject=f"lead-{number}", now=datetime(2026, 1, 1, tzinfo=UTC))
    fields = {name.encode(): value.encode() for name, value in encode(event).items()}
    return make_delivery(0, keys.stream(0, keys.LEADS), f"1-{number}".encode(), fields)


def refuses_everything(event: Countable, place: Place) -> Increments:
    raise ZeroDivisionError


async def test_an_agent_settles_every_delivery_of_a_batch_in_order() -> None:
    async with asyncio.timeout(DEADLINE_S), ProjectionApp(PROJECTIONS) as app:
        for projection in PROJECTIONS:
            deliveries = [delivery(number) for number in range(5)]
            answer = await app.project(projection, Batch(0, 1, deliveries))
            settled = [entry_id for settlement in answer for entry_id in settlement.entry_ids]
            assert settled == [item.entry_id for item in deliveries]


async def test_an_agent_that_raises_hands_the_exception_back_and_takes_the_next_batch() -> None:
    broken = Projection("broken", 1, TOTALS.streams, refuses_everything)
    async with asyncio.timeout(DEADLINE_S), ProjectionApp((broken, TOTALS)) as app:
        for _ in range(300):  # more often than Faust lets an agent crash in a second
            with pytest.raises(ZeroDivisionError):
                await app.project(broken, Batch(0, 1, [delivery(1)]))
        assert len(await app.project(TOTALS, Batch(0, 1, [delivery(1)]))) == 1
        assert not app.crashed


async def test_a_timer_that_raises_ends_the_service_with_its_cause() -> None:
    app = ProjectionApp((TOTALS,))

    async def broken_timer() -> None:
        raise ZeroDivisionError

    app.timer(interval=0.01)(broken_timer)
    guard = AppGuard(app)
    async with asyncio.timeout(DEADLINE_S), app:
        with pytest.raises(RuntimeError) as caught:
            await guard.run()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_the_guard_returns_when_it_is_stopped() -> None:
    async with asyncio.timeout(DEADLINE_S), ProjectionApp((TOTALS,)) as app:
        guard = AppGuard(app)
        running = asyncio.create_task(guard.run())
        guard.stop()
        await running


def test_the_app_leaves_no_files_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())

    async def use_it() -> None:
        async with asyncio.timeout(DEADLINE_S), ProjectionApp(PROJECTIONS) as app:
            await app.project(TOTALS, Batch(0, 1, [delivery(1)]))

    asyncio.run(use_it())
    assert sorted(tmp_path.iterdir()) == before
