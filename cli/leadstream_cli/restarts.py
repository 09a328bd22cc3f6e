"""What whoever keeps processes running decides about one that ended: how long to wait, and what to say. Pure."""

from __future__ import annotations

import signal
from contextlib import suppress

STEADY_S = 30.0
_FIRST_S, _MAX_S = 0.5, 10.0


def failures_after(failures: int, ran_s: float) -> int:
    """Failures in a row with this one: a process that ran for longer than `STEADY_S` begins a new row."""
    return 1 if ran_s > STEADY_S else failures + 1


def backoff_s(failures: int) -> float:
    """Seconds before the n-th restart in a row, from 1."""
    return min(_MAX_S, _FIRST_S * 2.0 ** min(failures - 1, 10))


def how_it_ended(code: int) -> str:
    """An exit code, negative for a signal, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"
