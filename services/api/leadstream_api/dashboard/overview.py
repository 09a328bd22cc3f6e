"""`GET /`: the dashboard."""

from __future__ import annotations

from leadstream_api.access import Scope, require
from leadstream_api.context import services_of
from leadstream_api.dashboard.pages import page
from leadstream_api.dashboard.parts import regions
from leadstream_api.dashboard.sse import live_of
from leadstream_api.dashboard.state import Overview, gather
from leadstream_api.dashboard.viewer import viewer_of
from leadstream_api.routing import Answer, Incoming, read
from leadstream_events.subscribers import utc_now
from leadstream_events.views_stats import Bucket


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
    buckets = dict.fromkeys((Bucket.MINUTE, bucket))  # rates come from the minutes
    return await gather(services_of(request), utc_now(), list(buckets))
