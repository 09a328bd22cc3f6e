"""Every metric of the fallback, by name.

| name | labels | what |
|---|---|---|
| `leadstream_redis_away` | | 1 while Redis does not take leads from this process |
| `leadstream_spool_leads` | | leads in the spool of this machine, as last seen |
| `leadstream_spool_oldest_age_seconds` | | age of the oldest of them, 0 without any |
| `leadstream_api_redis_reconnects_total` | | times Redis took leads again after it had been away |
| `leadstream_spool_refused_total` | `cause` | leads that the spool did not take either |
| `leadstream_fallback_leads_total` | | leads that went to the spool |
| `leadstream_fallback_mails_total` | `outcome` | SMTP attempts made while Redis was away |
| `leadstream_fallback_merged_total` | `result` | leads merged: stored, was_there, conflict, merged_before |
| `leadstream_fallback_copies_total` | | mails found at a merge to have gone twice; each is marked in its timeline |
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from leadstream_api.fallback.merging import Merged


class FallbackMetrics:
    """The metrics of one app's fallback."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.away = Gauge("leadstream_redis_away", "1 while Redis does not take leads", registry=registry)
        self.depth = Gauge("leadstream_spool_leads", "Leads in the spool", registry=registry)
        self.oldest = Gauge("leadstream_spool_oldest_age_seconds", "Age of the oldest of them", registry=registry)
        self.reconnects = Counter("leadstream_api_redis_reconnects", "Times Redis took leads again", registry=registry)
        self._refused = Counter(
            "leadstream_spool_refused", "Leads the spool did not take", ["cause"], registry=registry
        )
        self._leads = Counter("leadstream_fallback_leads", "Leads that went to the spool", registry=registry)
        self._mails = Counter(
            "leadstream_fallback_mails", "SMTP attempts while Redis was away", ["outcome"], registry=registry
        )
        self._merged = Counter("leadstream_fallback_merged", "Leads merged", ["result"], registry=registry)
        self._copies = Counter("leadstream_fallback_copies", "Mails that went twice", registry=registry)

    def spooled(self) -> None:
        """A lead went to the spool."""
        self._leads.inc()

    def refused(self, cause: str) -> None:
        """The spool did not take a lead."""
        self._refused.labels(cause).inc()

    def attempted(self, outcome: str) -> None:
        """An SMTP attempt ended."""
        self._mails.labels(outcome).inc()

    def merged(self, merged: Merged) -> None:
        """A round of merging ended."""
        for result, count in merged.results.items():
            self._merged.labels(result).inc(count)
        self._copies.inc(merged.copies)
