"""Which groups of leadstream's own work on which stream, also those that never started."""

from __future__ import annotations

from leadstream_events import keys

# `leadstream_projections.counters.PROJECTIONS` is the same list; a test holds them together.
PROJECTION_NAMES = ("totals", "subscribers", "leads", "series")
_PROJECTIONS = tuple(keys.PROJECTION_PREFIX + name for name in PROJECTION_NAMES)
_WORKING = {
    keys.LEADS: (keys.FANOUT, *(name for name in _PROJECTIONS if not name.endswith(".subscribers"))),
    keys.EMAILS: (keys.MAILER, *_PROJECTIONS),
    keys.OUTCOMES: (keys.QUOTA, *_PROJECTIONS),
}


def working_on(stream: str) -> tuple[str, ...]:
    """The groups that must have finished an entry of this stream (a short name) before it may go."""
    return _WORKING.get(stream, ())
