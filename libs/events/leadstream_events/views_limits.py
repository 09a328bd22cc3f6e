"""Every limit that is set, how much of it is used, and when the next mail may go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from leadstream_events import keys, slowing
from leadstream_events.domains import EVERY
from leadstream_events.limits import Rate
from leadstream_events.redis_client import Client
from leadstream_events.settings import Settings
from leadstream_events.slow_down import SlowDown
from leadstream_events.warm_up import limit_on, next_change

_GLOBAL = "*"


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit as it stands. `what`: rate, at a time, slowed or warm-up. `used`: of `limit`, None where it says nothing.

    `per_s`: mails a second, of those that are rates of a window.
    `next_at`: when the next mail may go, None for at once. `until`: when the limit rises or ends by itself.
    """

    name: str
    what: str
    limit: str
    used: int | None = None
    next_at: datetime | None = None
    until: datetime | None = None
    per_s: float | None = None


async def limit_lines(client: Client, settings: Settings, now: datetime) -> list[LimitLine]:
    """Returns a line for each limit in force at `now`; Redis errors pass through."""
    slowed, now_ms = await slowing.read(client)
    windows: list[tuple[str, str, str, Rate | None, datetime | None]] = [
        ("every domain", "rate", keys.LIMITS + _GLOBAL, settings.rate_limit, None)
    ]
    if settings.warm_up_start is not None:
        rate = limit_on(settings.warm_up_start, settings.warm_up, now)
        rises = next_change(settings.warm_up_start, settings.warm_up, now)
        windows.append(("every domain", "warm-up", keys.WARM_UP, rate, rises))
    windows += [
        (name, "rate", keys.LIMITS + name, rate, None) for name, rate in settings.rate_limit_domains.by_domain.items()
    ]
    lines = [
        await _window(client, LimitLine(name, what, str(rate), until=until), key, rate, now_ms)
        for name, what, key, rate, until in windows
        if rate is not None
    ]
    lines += [await _places(client, settings, item, now_ms) for item in settings.concurrency_domains.by_name.items()]
    return lines + [await _slowed(client, name, each, now_ms) for name, each in sorted(slowed.items())]


async def _window(client: Client, line: LimitLine, key: str, rate: Rate, now_ms: int) -> LimitLine:
    async with client.pipeline(transaction=False) as pipe:
        pipe.zcount(key, now_ms - rate.period_ms, "+inf")
        # The window has room again when the last of so many tokens has left it.
        pipe.zrevrange(key, rate.count - 1, rate.count - 1, withscores=True)
        used, last = await pipe.execute()
    free_ms = last[0][1] + rate.period_ms + rate.grace_ms if last else 0
    return LimitLine(
        line.name,
        line.what,
        line.limit,
        int(used),
        _later(free_ms, now_ms),
        line.until,
        rate.count * 1000 / rate.period_ms,
    )


async def _places(client: Client, settings: Settings, item: tuple[str, int], now_ms: int) -> LimitLine:
    name, count = item
    if name == EVERY:
        return LimitLine("every other domain", "at a time", str(count))
    used = await client.zcount(keys.PLACES + name, now_ms - int(settings.lease * 1000), "+inf")
    return LimitLine(name, "at a time", str(count), int(used))


async def _slowed(client: Client, name: str, each: SlowDown, now_ms: int) -> LimitLine:
    rate = each.rate_at(now_ms) or 0.0
    last = await client.zrevrange(keys.PACE + name, 0, 0, withscores=True)
    free_ms = last[0][1] + 60_000 / rate if last and rate else 0
    over = datetime.fromtimestamp(now_ms / 1000 + each.over_in_s(now_ms), UTC)
    return LimitLine(name, "slowed", f"{rate:.0f}/min", None, _later(free_ms, now_ms), over)


def _later(at_ms: float, now_ms: int) -> datetime | None:
    return datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms > now_ms else None
