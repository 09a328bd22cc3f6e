"""`GET /`: the dashboard."""

from __future__ import annotations

from dataclasses import replace

from leadstream_api.access import Scope, require
from leadstream_api.context import services_of
from leadstream_api.dashboard.pages import page
from leadstream_api.dashboard.parts import regions
from leadstream_api.dashboard.sse import live_of
from leadstream_api.dashboard.state import Overview, Rates, gather
from leadstream_api.dashboard.viewer import viewer_of
from leadstream_api.routing import Answer, Incoming, read
from leadstream_events.subscribers import utc_now
from leadstream_events.views_stats import Bucket, Series, series


@read("/", require(Scope.READ), documented=False)
async def get_overview(request: Incoming) -> Answer:
    """How everything stands; the poller's latest look where it is running."""
    wanted = request.query_params.get("bucket", "")
    bucket = Bucket(wanted) if wanted in list(Bucket) else Bucket.MINUTE
    latest, pii = live_of(request).latest, viewer_of(request).pii
    if latest is not None and bucket.value in latest.overview.charts:
        overview, parts = latest.overview, latest.parts[pii]
    else:
        overview = await _look(request, bucket)
        parts = regions(overview, pii=pii)
    return await page(
        request, "overview.html", here="overview", title="Overview", o=overview, parts=parts, bucket=bucket
    )


async def _look(request: Incoming, bucket: Bucket) -> Overview:
    services, now = services_of(request), utc_now()
    found = await gather(services, now, [bucket])
    if found.flow is None:
        return found
    return replace(found, rates=_rates(await series(services.log, Bucket.MINUTE, now=now)))


def _rates(minutes: Series) -> Rates:
    """What happened in the last whole minute: without a poller nobody has counted since."""
    counts = minutes.points[-2].counts if len(minutes.points) > 1 else {}
    ended = sum(counts.get(name, 0) for name in ("sent", "deferred", "failed", "skipped", "unknown"))
    return Rates(counts.get("leads", 0), counts.get("requested", 0), ended, counts.get("sent", 0))
