"""Spans of OpenTelemetry around the work on a lead, or nothing at all (docs/tracing.md).

While `OTEL_EXPORTER` is `off` nothing of OpenTelemetry is imported, and a span only hands on the trace that it was
given. `Span.traceparent` (W3C Trace Context) is what events store, so that the next service's span is its child.
Attributes are ids, numbers and labels from closed sets, never anything that a visitor or a mail server wrote.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, Protocol

from leadstream_events.errors import ConfigurationError

OFF = "off"

Attribute = str | int | bool
Kind = Literal["SERVER", "CONSUMER", "CLIENT"]


class Span:
    """A piece of work that is recorded nowhere. Use it in a `with` block, or call `end`."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def set(self, **attributes: Attribute | None) -> None:
        """Adds attributes, each under `leadstream.<name>`; None and "" are left out."""

    def event(self, name: str) -> None:
        """Notes that something happened now."""

    def fail(self, cause: str) -> None:
        """Marks the work as failed; `cause` is a label, never the text of an error, which may quote data."""

    def end(self) -> None:
        """The work is done. A recorded span is exported some time after; one that never ends is not."""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.fail(kind.__name__)
        self.end()


class Tracer(Protocol):
    """What records spans."""

    def start(self, name: str, kind: Kind, parent: str, attributes: Mapping[str, Attribute | None]) -> Span:
        """Begins a span: a child of the traceparent `parent`, or the first of a new trace where that is empty."""

    def close(self) -> None:
        """Exports what is left, within a bound."""


_tracer: Tracer | None = None


def enabled() -> bool:
    """True while spans are recorded."""
    return _tracer is not None


def first_span(name: str, incoming: str, /, **attributes: Attribute | None) -> Span:
    """Begins the span of a request from outside: a child of its traceparent, else the first span of a new trace."""
    if _tracer is None:
        if not incoming:
            ids = secrets.token_hex(24)
            incoming = f"00-{ids[:32]}-{ids[32:]}-01"
        return Span(incoming)
    return _tracer.start(name, "SERVER", incoming, attributes)


def span(name: str, kind: Kind, parent: str, /, **attributes: Attribute | None) -> Span:
    """Begins the span of work on an event, as a child of the event's trace; work without a trace has no span."""
    if _tracer is None or not parent:
        return Span(parent)
    return _tracer.start(name, kind, parent, attributes)


@contextmanager
def recording(exporter: str, service: str) -> Iterator[None]:
    """Records the spans of this process inside the block, as `OTEL_EXPORTER` says.

    Raises `ConfigurationError` when OpenTelemetry is not installed, or a setting of it is wrong.
    """
    global _tracer
    if exporter == OFF or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield
        return
    try:
        from leadstream_events.tracing_sdk import SdkTracer
    except ImportError:
        raise ConfigurationError(
            f"LEADSTREAM_OTEL_EXPORTER is {exporter.partition(':')[0]}, but OpenTelemetry is not installed: "
            "install requirements/tracing.txt (pip install 'leadstream[tracing]'), or set it to off"
        ) from None
    tracer = _tracer = SdkTracer(exporter, service)
    try:
        yield
    finally:
        _tracer = None
        tracer.close()
