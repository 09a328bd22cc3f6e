"""Records spans with the OpenTelemetry SDK. Imported only where `OTEL_EXPORTER` asks for it.

Ended spans wait in a bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`, 2048) that a thread exports; when it is full spans are
dropped. So a collector that is dead or slow costs spans, and no lead or mail waits for it. Sampling is the SDK's:
`OTEL_TRACES_SAMPLER` (parentbased_always_on) and `OTEL_TRACES_SAMPLER_ARG`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from leadstream_events.errors import ConfigurationError
from leadstream_events.tracing import Attribute, Kind, Span

FLUSH_S = 2.0
_W3C = TraceContextTextMapPropagator()
_HEADER = "traceparent"
_STDOUT = 1


class LineExporter(SpanExporter):
    """Writes each span as a line of JSON, in the SDK's own form.

    A batch is one write, and the file is open for appending: on a local file system lines of several processes never
    mix.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Writes them. OSError passes through: the SDK logs it, and these spans are lost."""
        left = memoryview(b"".join(f"{span.to_json(indent=None)}\n".encode() for span in spans))
        while left:
            left = left[os.write(self._descriptor, left) :]
        return SpanExportResult.SUCCESS


class _Recorded(Span):
    """A span of the SDK, or one that its sampler left out; that one has a traceparent too, which says so."""

    __slots__ = ("_span",)

    def __init__(self, recorded: SdkSpan) -> None:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, set_span_in_context(recorded, Context()))
        super().__init__(carrier[_HEADER])
        self._span = recorded

    def set(self, **attributes: Attribute | None) -> None:
        self._span.set_attributes(_named(attributes))

    def event(self, name: str) -> None:
        self._span.add_event(name)

    def fail(self, cause: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR, cause))

    def end(self) -> None:
        self._span.end()


class SdkTracer:
    """The tracer of one process. `ConfigurationError` when a file, an endpoint or another setting is wrong."""

    def __init__(self, exporter: str, service: str) -> None:
        resource = Resource.create(
            {"service.namespace": "leadstream", "service.name": f"leadstream-{service}", "process.pid": os.getpid()}
        )
        # The SDK's own end would wait half a minute for a dead collector; `close` does not.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        try:
            self._provider.add_span_processor(BatchSpanProcessor(_exporter(exporter)))
        except ValueError as error:
            raise ConfigurationError(f"OTEL_BSP_* or OTEL_EXPORTER_OTLP_*: {error}") from None
        self._tracer = self._provider.get_tracer("leadstream")

    def start(self, name: str, kind: Kind, parent: str, attributes: Mapping[str, Attribute | None]) -> Span:
        """Begins a span. A parent that is no traceparent counts as none."""
        context = _W3C.extract({_HEADER: parent}, Context())
        span = self._tracer.start_span(name, context, SpanKind[kind], _named(attributes))
        return _Recorded(span)

    def close(self) -> None:
        """Exports what is left, for `FLUSH_S` at most: a thread that waits on for a collector ends with the process."""
        thread = threading.Thread(target=self._provider.shutdown, name="flush-spans", daemon=True)
        thread.start()
        thread.join(FLUSH_S)


def _named(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    return {f"leadstream.{name}": value for name, value in attributes.items() if value is not None and value != ""}


def _exporter(wanted: str) -> SpanExporter:
    kind, _, path = wanted.partition(":")
    if kind == "console":
        return LineExporter(_STDOUT)
    if kind == "file":
        try:
            return LineExporter(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644))
        except OSError as error:
            raise ConfigurationError(f"LEADSTREAM_OTEL_EXPORTER: {path} cannot be written: {error.strerror}") from None
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        value = os.environ.get(name, "http://localhost")
        if urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname:
            raise ConfigurationError(f"{name} must be a URL such as http://127.0.0.1:4318")
    return OTLPSpanExporter()
