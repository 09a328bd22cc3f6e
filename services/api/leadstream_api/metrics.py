"""Every metric of the API, by name, in one place.

| name | labels | what |
|---|---|---|
| `leadstream_api_leads_accepted_total` | `door`, `mode` | leads answered with 202 for the first time |
| `leadstream_api_leads_repeated_total` | `door` | repeats of a lead under its idempotency key |
| `leadstream_api_leads_refused_total` | `door`, `reason` | leads not taken |
| `leadstream_api_append_seconds` | | time from a read body to its answer from Redis |
| `leadstream_api_turnstile_total` | `verdict` | pages' leads: `passed`, or unchecked: `unanswered`, `wrong-secret` |
| `leadstream_api_responses_total` | `method`, `route`, `status` | answers |
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from leadstream_events.runtime.hooks import series

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset(("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"))
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The metrics of one app; each app has its own registry, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._accepted = Counter(
            "leadstream_api_leads_accepted", "Leads answered with 202", ["door", "mode"], registry=self.registry
        )
        self._repeated = Counter(
            "leadstream_api_leads_repeated", "Repeats under an idempotency key", ["door"], registry=self.registry
        )
        self._refused = Counter(
            "leadstream_api_leads_refused", "Leads not taken", ["door", "reason"], registry=self.registry
        )
        self._turnstile = Counter(
            "leadstream_api_turnstile", "Leads of web pages let through", ["verdict"], registry=self.registry
        )
        self._append = Histogram(
            "leadstream_api_append_seconds", "Time of an append", buckets=_BUCKETS, registry=self.registry
        )
        self._responses = Counter(
            "leadstream_api_responses", "Answers", ["method", "route", "status"], registry=self.registry
        )
        self._reported = Counter(
            "leadstream_api_webhook_events", "What providers reported", ["provider", "result"], registry=self.registry
        )

    def accepted(self, door: str, mode: str, seconds: float) -> None:
        """A lead was taken."""
        series(self._accepted, door, mode).inc()
        self._append.observe(seconds)

    def repeated(self, door: str) -> None:
        """The first answer was given again."""
        self._repeated.labels(door).inc()

    def refused(self, door: str, reason: str) -> None:
        """A lead was not taken, for a reason from a closed set."""
        self._refused.labels(door, reason).inc()

    def turnstile(self, verdict: str) -> None:
        """A lead was let through, with a token that is good or that nobody checked; refused leads are `refused`."""
        self._turnstile.labels(verdict).inc()

    def reported(self, provider: str, result: str, count: int) -> None:
        """Events of a provider came to this, or a request was refused; both from closed sets."""
        self._reported.labels(provider, result).inc(count)

    def responded(self, method: str, route: str, status: int) -> None:
        """An answer started. `route` is the template of the path, never the path itself."""
        series(self._responses, method if method in _METHODS else "other", route, str(status)).inc()

    def text(self) -> bytes:
        """The exposition text, format version 0.0.4."""
        return generate_latest(self.registry)
