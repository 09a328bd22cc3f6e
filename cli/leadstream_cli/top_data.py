"""What `top` shows: one snapshot, cheap enough for every second however much is stored, and rates between two."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from leadstream_cli.connection import find_public_url
from leadstream_cli.http_client import ApiClient
from leadstream_cli.output import age
from leadstream_events import dead_letters, slowing
from leadstream_events.errors import LeadstreamError
from leadstream_events.limits import Rate
from leadstream_events.log import StreamLog
from leadstream_events.views_flow import Flow, GroupFlow, flow
from leadstream_events.views_stats import Bucket, series

# What fits beside its name into 80 columns.
SPARK = 56
_METRICS = ("sent", "deferred", "failed", "skipped")


@dataclass(frozen=True, slots=True)
class Door:
    """What the API says of itself: `ready`, `degraded`, `unavailable` or `away`; `spooled` leads wait on its disk."""

    status: str
    spooled: int | None = None


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A group over all its streams: the sums, the greatest ages, and how fast it finishes entries."""

    group: str
    lag: int
    exact: bool
    lag_age_s: float | None
    pending: int
    parked: int
    oldest_s: float | None
    consumers: int
    per_s: float | None


@dataclass(frozen=True, slots=True)
class StreamLine:
    """A stream over all partitions."""

    stream: str
    entries: int
    per_s: float | None
    newest_s: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything on the screen. `minutes` are mails sent in each of the last minutes, the current one last.

    `slowed`: domains that asked for fewer mails, and how many a minute they get.
    """

    at: datetime
    groups: tuple[GroupLine, ...]
    streams: tuple[StreamLine, ...]
    limit: str
    limit_count: int | None
    in_window: int | None
    minutes: tuple[int, ...]
    hour: Mapping[str, int]
    dead: int
    door: Door
    slowed: Mapping[str, float] = field(default_factory=dict)

    @property
    def oldest(self) -> tuple[str, float] | None:
        """The group with the entry that waits longest."""
        waiting = [(line.oldest_s, line.group) for line in self.groups if line.oldest_s is not None]
        return (max(waiting)[1], max(waiting)[0]) if waiting else None


async def look(log: StreamLog, rate: Rate | None, now: datetime, before: tuple[Flow, datetime] | None) -> tuple[
    Snapshot, Flow
]:  # fmt: skip
    """Returns a snapshot at `now`; with an earlier flow also rates. Redis errors as they are."""
    door = asyncio.create_task(asyncio.to_thread(_door))
    found = await flow(log, rate, now)
    points = (await series(log, Bucket.MINUTE, now=now, since=now - timedelta(minutes=59))).points
    slow, server_ms = await slowing.read(log.client)
    made = Snapshot(
        at=now,
        groups=tuple(_group_lines(found, before, now)),
        streams=tuple(_stream_lines(found, before, now)),
        limit=str(rate) if rate else "off",
        limit_count=rate.count if rate else None,
        in_window=found.in_window,
        minutes=tuple(point.counts.get("sent", 0) for point in points),
        hour={metric: sum(point.counts.get(metric, 0) for point in points) for metric in _METRICS},
        dead=await dead_letters.total(log),
        door=await door,
        slowed={name: one.rate_at(server_ms) or 0.0 for name, one in sorted(slow.items())},
    )
    return made, found


def _door() -> Door:
    try:
        with ApiClient(find_public_url().value, timeout_s=1.0) as api:
            answer = api.request("GET", "/health/ready")
    except (LeadstreamError, OSError, http.client.HTTPException):
        return Door("away")
    body: Any = answer.body if isinstance(answer.body, dict) else {}
    spool = body.get("checks", {}).get("spool", {})
    return Door(str(body.get("status", "away")), spool.get("leads"))


def _group_lines(found: Flow, before: tuple[Flow, datetime] | None, now: datetime) -> list[GroupLine]:
    names = dict.fromkeys(group.group for group in found.groups)
    return [_group_line(name, found, before, now) for name in sorted(names, key=_pipeline_order)]


def _pipeline_order(group: str) -> tuple[int, str]:
    order = ("fanout", "mailer", "quota")
    return (order.index(group) if group in order else len(order), group)


def _group_line(name: str, found: Flow, before: tuple[Flow, datetime] | None, now: datetime) -> GroupLine:
    mine = [group for group in found.groups if group.group == name]
    exact = all(group.lag_exact for group in mine)
    return GroupLine(
        group=name,
        lag=sum(group.lag for group in mine),
        exact=exact,
        lag_age_s=_oldest([group.lag_age_s for group in mine]),
        pending=sum(group.pending for group in mine),
        parked=sum(group.parked for group in mine),
        oldest_s=_oldest([group.oldest_s for group in mine]),
        consumers=max(group.consumers for group in mine),
        per_s=_rate(_finished(found, mine), before, now, lambda flow: _finished(flow, flow.of(name)))
        if exact
        else None,
    )


def _finished(found: Flow, groups: Sequence[GroupFlow]) -> int:
    return sum(found.streams[group.stream].added - group.waiting for group in groups)


def _rate(value: int, before: tuple[Flow, datetime] | None, now: datetime, of: Callable[[Flow], int]) -> float | None:
    if before is None or now <= before[1]:
        return None
    return max(0.0, (value - of(before[0])) / (now - before[1]).total_seconds())


def _oldest(ages: Sequence[float | None]) -> float | None:
    return max((item for item in ages if item is not None), default=None)


def _stream_lines(found: Flow, before: tuple[Flow, datetime] | None, now: datetime) -> list[StreamLine]:
    out = []
    for name, stream in found.streams.items():
        newest = max(0.0, now.timestamp() - stream.last_ms / 1000) if stream.last_ms else None
        per_s = _rate(stream.added, before, now, partial(_added, name))
        out.append(StreamLine(name, stream.length, per_s, newest))
    return out


def _added(name: str, found: Flow) -> int:
    return found.streams[name].added


def per_second(value: float | None) -> str:
    """A rate as a table shows it."""
    return "-" if value is None else f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def count_text(line: GroupLine) -> str:
    """Its lag, with a plus when it is a lower bound."""
    return f"{line.lag}{'' if line.exact else '+'}"


def spark(values: Sequence[int]) -> str:
    """The values as a row of bars."""
    top = max(values, default=0)
    return "".join("▁▂▃▄▅▆▇█"[min(7, value * 8 // (top + 1))] if value else "·" for value in values)


def mail_lines(shot: Snapshot) -> list[str]:
    """The head of the screen."""
    window = f"{shot.in_window} of {shot.limit}" if shot.in_window is not None else f"{shot.minutes[-1]}, no limit"
    oldest = f"{age(shot.oldest[1])} ({shot.oldest[0]})" if shot.oldest else "nothing waits"
    spooled = "" if shot.door.spooled is None else f", {shot.door.spooled} leads spooled"
    hour = "  ".join(f"{name} {count}" for name, count in shot.hour.items())
    slowed = ", ".join(f"{name} {rate:.0f}/min" for name, rate in shot.slowed.items())
    return [
        f"mails in the window {window}",
        *([f"slowed down         {slowed}"] if slowed else []),
        f"last hour           {hour}",
        f"sent by minute      {spark(shot.minutes[-SPARK:])}",
        f"oldest waiting      {oldest}",
        f"dead letters {shot.dead:<6} API {shot.door.status}{spooled}",
    ]
