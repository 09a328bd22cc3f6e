"""What a person reads when something fails: one clear line, and the exit code that scripts branch on."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from leadstream_events.errors import Backpressure, ConfigurationError, LeadstreamError, RedisCause

DONE, FAILED, WRONG_USE, CHECK_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

_MENDS = {
    RedisCause.DOWN: "nothing answers there: start it (leadstream up), or set LEADSTREAM_REDIS_URL",
    RedisCause.TIMEOUT: "it did not answer in time: is it overloaded, or behind a firewall?",
    RedisCause.LOADING: "it is still loading its data: try again in a moment",
    RedisCause.READONLY: "it is a read-only replica: point LEADSTREAM_REDIS_URL at the master",
    RedisCause.OOM: "its memory is full: raise maxmemory or trim",
    RedisCause.MISCONF: "it cannot write its snapshot and refuses writes: look at its log and disk",
    RedisCause.NOGROUP: "the consumer group is not there (yet)",
    RedisCause.WRONGTYPE: "a key holds another type: is this database shared with another program?",
    RedisCause.AUTH: "it refuses the login or the command: check user and password in LEADSTREAM_REDIS_URL",
    RedisCause.CLUSTERDOWN: "the cluster is down",
    RedisCause.BUSY: "it is busy with a script: see SCRIPT KILL",
}


def explain(error: BaseException, redis_url: str) -> tuple[str, int] | None:
    """Returns the line for people and the exit code; None for a bug, whose traceback is wanted."""
    if isinstance(error, ConfigurationError):
        return str(error), WRONG_USE
    if not isinstance(error, Backpressure) and isinstance(error, LeadstreamError):
        return str(error), FAILED
    cause = _redis_cause(error)
    if cause is not None:
        mend = _MENDS.get(cause.cause) or cause.detail or "it answered with an error"
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
