"""The warm-up of a new sender: how many mails may go out a day, by the day. Pure.

Mailbox providers distrust a sender who begins with many mails. The limit of a day is a window of its own that slides
over the last 24 hours, beside every other limit.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from leadstream_events.limits import DAY_MS, Rate

# Doubled every day: the pace that providers' own guides recommend at the most.
DOUBLING = tuple(50 * 2**day for day in range(11))
_MOST = 100_000


def parse_warm_up(value: object) -> tuple[int, ...]:
    """Reads `50/day,100/day,200/day`; ValueError names the accepted form."""
    if isinstance(value, tuple):
        return value
    counts = []
    for part in filter(str.strip, str(value or "").split(",")):
        match = re.fullmatch(r"([1-9][0-9]{0,5})\s*(/\s*day)?", part.strip().lower())
        if not match or int(match[1]) > _MOST:
            raise ValueError(f"must be one limit a day, from 1 to {_MOST}, such as 50/day,100/day,200/day")
        counts.append(int(match[1]))
    if not counts:
        raise ValueError("must be one limit a day, such as 50/day,100/day,200/day; without WARM_UP_START it is off")
    return tuple(counts)


def limit_on(start: date | None, counts: tuple[int, ...], now: datetime) -> Rate | None:
    """The limit at `now`; None without a warm-up and after its last day. Days are those of UTC.

    Before the start the first day's limit holds: a start put too late must not open the gate.
    """
    if start is None:
        return None
    day = max(0, (now.astimezone(UTC).date() - start).days)
    return Rate(counts[day], DAY_MS) if day < len(counts) else None


def next_change(start: date, counts: tuple[int, ...], now: datetime) -> datetime | None:
    """When the limit rises or ends; None when it is over."""
    day = max(0, (now.astimezone(UTC).date() - start).days)
    if day >= len(counts):
        return None
    return datetime.combine(start + timedelta(days=day + 1), time(), UTC)
