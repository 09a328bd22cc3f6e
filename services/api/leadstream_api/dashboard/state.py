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
from leadstream_events.views import LeadSummary, lead_page
from leadstream_events.views_flow import Flow, GroupFlow, flow
from leadstream_events.views_stats import Bucket, Totals, series, totals

LATEST = 8
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Rates:
    """Per minute, over the last minute or so."""

    leads: int
    emails: int
    outcomes: int
    sent: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Totals at one moment (monotonic), from whose differences rates come."""

    at_s: float
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
            for bucket in buckets:
                charts[bucket.value] = chart(await series(services.log, bucket, now=now))
            page = await lead_page(services.log, limit=LATEST)
            changes = await services.client.xrevrange(keys.SUBSCRIBER_EVENTS, count=1)
    except Backpressure as error:
        return Overview(now, ready, limit, cause=error.cause.value)
    marks = {name: f"{stream.added}.{stream.length}" for name, stream in found.streams.items()}
    marks["subscribers"] = changes[0][0].decode() if changes else ""
    return Overview(now, ready, limit, found, sums, charts, page.items, None, marks)


def sample(overview: Overview, at_s: float) -> Sample | None:
    """What rates are computed from."""
    if overview.flow is None or overview.totals is None:
        return None
    added = {name: stream.added for name, stream in overview.flow.streams.items()}
    return Sample(at_s, added[keys.LEADS], added[keys.EMAILS], added[keys.OUTCOMES], overview.totals.sent)


def rates_between(old: Sample, new: Sample) -> Rates | None:
    """Rates per minute; None when the samples are too close to say anything."""
    seconds = new.at_s - old.at_s
    if seconds < 1.0:
        return None

    def per_minute(before: int, after: int) -> int:
        return max(0, round((after - before) * _MINUTE_S / seconds))

    return Rates(
        per_minute(old.leads, new.leads),
        per_minute(old.emails, new.emails),
        per_minute(old.outcomes, new.outcomes),
        per_minute(old.sent, new.sent),
    )
