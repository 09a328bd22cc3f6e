"""docs/observability.md names every metric that the code makes, with its labels: quick, and before any service runs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from prometheus_client.metrics import MetricWrapperBase

from leadstream_api.fallback.metrics import FallbackMetrics
from leadstream_api.metrics import Metrics
from tests.support.scraping import documented

MODULES = (
    "leadstream_events.runtime.hooks",
    "leadstream_events.runtime.backlog",
    "leadstream_events.runtime.observed",
    "leadstream_mailer.metrics",
    "leadstream_archiver.metrics",
    "leadstream_bounces.metrics",
)


def made() -> Iterator[MetricWrapperBase]:
    api = Metrics()
    holders = [importlib.import_module(name) for name in MODULES]
    for holder in (*holders, api, FallbackMetrics(api.registry)):
        yield from (each for each in vars(holder).values() if isinstance(each, MetricWrapperBase))


def test_the_page_has_every_metric_with_its_labels_and_no_other() -> None:
    found = {
        family.name + ("_total" if family.type == "counter" else ""): frozenset(metric._labelnames)
        for metric in made()
        if not metric._labelvalues
        for family in metric.describe()
    }
    assert found == documented(), "docs/observability.md has a row for each metric"
