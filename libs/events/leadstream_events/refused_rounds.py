"""For work that is done again and again: a round that Redis refused is let go, but not in silence."""

from __future__ import annotations

from structlog.stdlib import get_logger

from leadstream_events.errors import RedisCause
from leadstream_events.redis_client import classify
from leadstream_events.redis_mends import MENDS

logger = get_logger("leadstream.rounds")

# Waiting does not mend these: a person has to.
_LASTING = frozenset((RedisCause.AUTH, RedisCause.NOPERM, RedisCause.TLS, RedisCause.WRONGTYPE, RedisCause.OTHER))
_told: set[tuple[str, RedisCause]] = set()


def tolerate(error: Exception, work: str) -> None:
    """Raises what is a bug; returns where Redis cannot take work now, so that the next round tries again.

    What lasts is logged with its mend, once per work and cause in the life of a process. An outage is not: the
    consumers of the same process tell it.
    """
    refused = classify(error)
    if refused is None:
        raise error
    if refused.cause in _LASTING and (work, refused.cause) not in _told:
        _told.add((work, refused.cause))
        logger.warning("redis refuses work", work=work, cause=refused.cause.value, mend=MENDS.get(refused.cause))
