"""What a person reads when something fails: one clear line, and the exit code that scripts branch on."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from leadstream_events.errors import Backpressure, ConfigurationError, LeadstreamError
from leadstream_events.redis_mends import MENDS

DONE, FAILED, WRONG_USE, CHECK_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def explain(error: BaseException, redis_url: str) -> tuple[str, int] | None:
    """Returns the line for people and the exit code; None for a bug, whose traceback is wanted."""
    if isinstance(error, ConfigurationError):
        return str(error), WRONG_USE
    if not isinstance(error, Backpressure) and isinstance(error, LeadstreamError):
        return str(error), FAILED
    cause = _redis_cause(error)
    if cause is not None:
        mend = MENDS.get(cause.cause) or cause.detail or "it answered with an error"
        return f"Redis at {redis_url} ({cause.cause.value}): {mend}", FAILED
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", FAILED
    return None


def _redis_cause(error: BaseException) -> Backpressure | None:
    if isinstance(error, Backpressure):
        return error
    if "redis" not in sys.modules or (isinstance(error, OSError) and error.filename is not None):
        return None
    from leadstream_events.redis_client import classify

    return classify(error)


def say(*parts: object) -> None:
    """Status for people: to stderr, so that stdout holds data only. A closed stderr is nobody's loss."""
    _write(parts)


def _write(parts: Iterable[object]) -> None:
    try:
        sys.stderr.write(" ".join(map(str, parts)) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
