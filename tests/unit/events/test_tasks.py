"""Tasks are over once `end` returns, even those that lose a cancellation."""

from __future__ import annotations

import asyncio

from leadstream_events.tasks import end


async def test_a_task_that_drops_its_first_cancellations_is_ended_all_the_same() -> None:
    dropped = 0

    async def stubborn() -> None:
        nonlocal dropped
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                dropped += 1
                if dropped == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(end(task), 5)
    assert task.cancelled()
    assert dropped == 3


async def test_what_a_task_raised_stays_with_it() -> None:
    async def fails() -> None:
        raise ValueError("its own")

    task = asyncio.create_task(fails())
    await asyncio.wait({task})
    await end(task, None)
    assert isinstance(task.exception(), ValueError)
