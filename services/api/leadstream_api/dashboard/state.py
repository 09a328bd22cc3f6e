"""What the overview shows, gathered in a few round trips; while Redis is away it shows that and what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from leadstream_api import health
from leadstream_api.context import Services, redis_errors
from leadstream_api.dashboard.charts import Chart, chart
from leadstream_events import keys
from leadstream_events.errors import Backpressure
from leadstream_events.limits import Rate
from leadstream_events.views import lead_page
from leadstream_events.views_flow import Flow, GroupFlow, flow
from leadstream_events.views_leads import LeadSummary
from leadstream_events.views_stats import Bucket, Series, Totals, series, totals

LATEST = 8
_MINUTE_S = 60.0
_ENDS = ("sent", "deferred", "failed", "skipped", "unknown")


@dataclass(frozen=True, slots=True)
class Rates:
    """Per minute, over the last minute; they follow the log as the projections do."""

    leads: int
    emails: int
    outcomes: int
    sent: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the overview. What could not be read is None. `cause`: why Redis told nothing."""

    at: datetime
    readiness: health.Readiness
    rate_limit: Rate | None
    flow: Flow | None = None
    totals: Totals | None = None
    charts: Mapping[str, Chart] = field(default_factory=dict)
    latest: Sequence[LeadSummary] = ()
    rates: Rates | None = None
    marks: Mapping[str, str] = field(default_factory=dict)
    cause: str = ""

    @property
    def open_letters(self) -> int:
        """Dead letters that nobody has looked after."""
        return self.flow.streams[keys.DEAD].length if self.flow else 0

    def group(self, name: str) -> GroupFlow | None:
        """A group on one stream; of the projections the one that is furthest behind."""
        found = self.flow.of(name) if self.flow else ()
        return max(found, key=lambda group: (group.oldest_s or 0.0, group.waiting), default=None)


async def gather(
    services: Services,
    now: datetime,
    buckets: Sequence[Bucket],
    *,
    before: Overview | None = None,
    readiness: health.Readiness | None = None,
) -> Overview:
    """Reads it all at `now`. Charts of other buckets than these are taken from `before`."""
    ready = readiness or await health.readiness(services)
    limit = services.settings.rate_limit
    try:
        async with redis_errors(services):
            found = await flow(services.log, limit, now)
            sums = await totals(services.log)
            charts = dict(before.charts) if before else {}
            rates = before.rates if before else None
            for bucket in buckets:
                points = await series(services.log, bucket, now=now)
                charts[bucket.value] = chart(points)
                rates = rates_of(points, now) if bucket is Bucket.MINUTE else rates
            page = await lead_page(services.log, limit=LATEST)
            changes = await services.client.xrevrange(keys.SUBSCRIBER_EVENTS, count=1)
    except Backpressure as error:
        return Overview(now, ready, limit, cause=error.cause.value)
    marks = {name: f"{stream.added}.{stream.length}" for name, stream in found.streams.items()}
    marks["subscribers"] = changes[0][0].decode() if changes else ""
    return Overview(now, ready, limit, found, sums, charts, page.items, rates, marks)


def rates_of(minutes: Series, now: datetime) -> Rates:
    """What came in the last sixty seconds, if it came evenly in the minute before this one."""
    counts = [point.counts for point in minutes.points[-2:]]
    before, current = counts if len(counts) == 2 else ({}, counts[0] if counts else {})
    left = 1 - now.second / _MINUTE_S

    def rate(*names: str) -> int:
        return round(sum(current.get(name, 0) + left * before.get(name, 0) for name in names))

    return Rates(rate("leads"), rate("requested"), rate(*_ENDS), rate("sent"))
