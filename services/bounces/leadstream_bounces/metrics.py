"""Every metric name of the bounce receiver."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

REPORTS = Counter("leadstream_reports_total", "Mails to our return path by what came of them", ["source", "result"])
REFUSED = Counter("leadstream_reports_refused_total", "Mails not taken now or at all", ["source", "why"])
CONNECTIONS = Gauge("leadstream_bounce_connections", "Open connections to the bounce receiver")
