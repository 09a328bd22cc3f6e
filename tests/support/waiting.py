"""Waits for a real state that another process brings about.

Nothing here sleeps for a guessed time: a condition is looked at until it holds, and a deadline makes a hang a failure
that says what was awaited. Inside one process await the event itself instead.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 60.0
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.1


class ConditionNotMet(AssertionError):
    """The awaited state did not come about in time."""


async def eventually(
    condition: Callable[[], Awaitable[T]], what: str = "the condition", within_s: float = DEADLINE_S
) -> T:
    """Returns the first true value of the condition; `ConditionNotMet` names `what` and the last value seen."""
    deadline = time.monotonic() + within_s
    pause_s = _FIRST_PAUSE_S
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise ConditionNotMet(f"{what}: still {value!r} after {within_s:g} s")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


def eventually_sync(condition: Callable[[], T], what: str = "the condition", within_s: float = DEADLINE_S) -> T:
    """Like `eventually`, for tests without a loop."""
    deadline = time.monotonic() + within_s
    pause_s = _FIRST_PAUSE_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise ConditionNotMet(f"{what}: still {value!r} after {within_s:g} s")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


def process_runs(pid: int) -> bool:
    """True while the process exists and is not a zombie that only waits to be collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return not Path("/proc/self").exists()
