"""Spans around a batch: one for each lead and parent in it, from the moment it is worked on until it is settled.

The deliveries that a handler gets carry the trace of their span, so whatever it appends for them is a child of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from leadstream_events import tracing
from leadstream_events.keys import PROJECTION_PREFIX
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.tracing import Span


class Traced:
    """A batch under its spans. One whose work is cancelled is never ended, and so not exported."""

    __slots__ = ("_spans", "deliveries")

    def __init__(self, deliveries: Sequence[Delivery], spans: Collection[Span]) -> None:
        self.deliveries, self._spans = deliveries, spans

    def end(self, error: BaseException | None = None) -> None:
        """The batch is settled, or the handler raised."""
        for span in self._spans:
            if error is not None:
                span.fail(type(error).__name__)
            span.end()


def traced(group: str, batch: Sequence[Delivery]) -> Traced:
    """Begins the spans of a batch; nothing happens while tracing is off."""
    if not tracing.enabled():
        return Traced(batch, ())
    spans: dict[tuple[str, str], Span] = {}
    counts: dict[tuple[str, str], int] = {}
    deliveries = []
    for delivery in batch:
        event = delivery.event
        if event is None or not event.trace:
            deliveries.append(delivery)
            continue
        key = (event.subject, event.trace)
        if key not in spans:
            spans[key] = _begin(group, event.subject, event.trace)
        counts[key] = counts.get(key, 0) + 1
        deliveries.append(replace(delivery, event=replace(event, trace=spans[key].traceparent)))
    for key, span in spans.items():
        span.set(entries=counts[key])
    return Traced(deliveries, spans.values())


def _begin(group: str, lead_id: str, trace: str) -> Span:
    """Projections share a name: which one it is, an attribute says."""
    name = "project" if group.startswith(PROJECTION_PREFIX) else group
    return tracing.span(name, "CONSUMER", trace, lead_id=lead_id, group=group)
