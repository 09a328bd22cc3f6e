"""Ends tasks for certain.

One `cancel()` may be lost: `asyncio.wait_for` of Python 3.11, which redis-py sends its commands with, returns the
result and drops the cancellation when both come at the same time (cpython issue 86296). A loop would run for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.stdlib import get_logger

_AGAIN_S = 0.1

logger = get_logger("leadstream.tasks")


def reveal(task: asyncio.Task[Any], what: str) -> None:
    """For `add_done_callback`: logs that `what` failed, by the type of the error alone."""
    if not task.cancelled() and (error := task.exception()):
        logger.error(what, error=type(error).__name__)


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancels tasks until every one of them is over. What they raise stays with them; nothing is raised here."""
    left = {task for task in tasks if task is not None and not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
    for ended in tasks:
        if ended is not None and not ended.cancelled():
            ended.exception()  # looked at, so that asyncio does not complain
