"""Spans: what they cost while off, what they say, and that no collector holds anybody up."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from leadstream_events import tracing
from leadstream_events.envelope import make_event
from leadstream_events.errors import ConfigurationError
from leadstream_events.keys import PROJECTION_PREFIX
from leadstream_events.runtime.delivery import Delivery
from leadstream_events.runtime.traced import traced
from leadstream_events.schemas.events import EmailSkipped, Kind, SmtpFailure
from leadstream_events.settings import load_settings
from leadstream_mail.attempt_span import attempt_span, note_outcome
from leadstream_mail.smtp.outcome import Refused
from tests.support.ports import free_port

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-2] + "00"

OFF_IMPORTS_NOTHING = """
import sys
import leadstream_api.server, leadstream_mailer.fanout, leadstream_mailer.service, leadstream_projections.service
from leadstream_events.tracing import recording, span
with recording("off", "x"), span("work", "CLIENT", "") as made:
    made.set(number=1)
# redis-py looks for the package by itself, for metrics that are off.
wanted = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "leadstream_events.tracing_sdk")
assert not [name for name in sys.modules if name.startswith(wanted)]
"""
WITHOUT_THE_PACKAGE = """
import sys
sys.modules["opentelemetry"] = None
from leadstream_mailer.__main__ import main
sys.exit(main(["fanout"]))
"""
MANY_SPANS = f"""
from leadstream_events.tracing import recording, span
with recording("otlp", "mailer"):
    for _ in range(2000):
        span("work", "CLIENT", "{PARENT}").end()
print("done")
"""


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def sampled(span: tracing.Span) -> bool:
    found = re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{2})", span.traceparent)
    assert found
    return bool(int(found[1], 16) & 1)


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    path = {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(command, env=path | env, capture_output=True, text=True, timeout=120, check=False)


def test_while_off_nothing_of_opentelemetry_is_imported() -> None:
    done = run(OFF_IMPORTS_NOTHING)
    assert done.returncode == 0, done.stderr


def test_a_service_without_the_package_says_in_one_line_what_to_install() -> None:
    done = run(WITHOUT_THE_PACKAGE, LEADSTREAM_OTEL_EXPORTER="otlp")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "LEADSTREAM_OTEL_EXPORTER is otlp" in done.stderr and "leadstream[tracing]" in done.stderr


def test_while_off_a_request_keeps_its_trace_or_gets_a_fresh_one() -> None:
    assert tracing.first_span("lead accept", PARENT).traceparent == PARENT
    made = [tracing.first_span("lead accept", "").traceparent for _ in range(2)]
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", each) for each in made) and made[0] != made[1]
    assert tracing.span("fanout", "CONSUMER", PARENT).traceparent == PARENT


def test_a_span_is_a_line_with_the_trace_of_its_parent_and_hands_on_its_own_id(tmp_path: Path) -> None:
    path = tmp_path / "spans"
    path.write_text("{}\n")  # what is there stays
    with tracing.recording(f"file:{path}", "mailer"):
        with tracing.span("work", "CLIENT", PARENT, lead_id="a", detail=None) as parent:
            parent.event("half")
        with pytest.raises(KeyError), tracing.span("more", "CLIENT", parent.traceparent):
            raise KeyError("dana@example.com")
    _, first, second = written(path)
    assert first["context"]["trace_id"] == second["context"]["trace_id"] == "0x" + PARENT[3:35]
    assert first["parent_id"] == "0x" + PARENT[36:52]
    assert second["parent_id"] == first["context"]["span_id"] == "0x" + parent.traceparent[36:52]
    assert (first["attributes"], first["events"][0]["name"]) == ({"leadstream.lead_id": "a"}, "half")
    assert second["status"] == {"status_code": "ERROR", "description": "KeyError"} and second["events"] == []
    assert first["resource"]["attributes"]["service.name"] == "leadstream-mailer"


def test_work_on_an_event_without_a_trace_has_no_span(tmp_path: Path) -> None:
    path = tmp_path / "spans"
    with tracing.recording(f"file:{path}", "mailer"), tracing.span("work", "CLIENT", "") as made:
        assert made.traceparent == ""
    assert written(path) == []


def test_what_the_sampler_leaves_out_is_not_written_and_says_so_to_the_next_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "spans"
    with tracing.recording(f"file:{path}", "api"), tracing.span("work", "CLIENT", UNSAMPLED) as child:
        assert child.traceparent[:36] == PARENT[:36] and not sampled(child)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    with tracing.recording(f"file:{path}", "api"), tracing.first_span("lead accept", "") as first:
        assert not sampled(first)
    assert written(path) == []


def test_opentelemetry_switched_off_by_its_own_variable_keeps_the_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with tracing.recording(f"file:{tmp_path / 'spans'}", "api"):
        assert tracing.span("work", "CLIENT", PARENT).traceparent == PARENT
        assert tracing.first_span("lead accept", "").traceparent


def test_a_refused_mail_says_its_code_and_cause_and_nothing_that_the_server_wrote(tmp_path: Path) -> None:
    path = tmp_path / "spans"
    line = "5.1.1 <dana@example.com> unknown"
    failure = SmtpFailure(permanent=True, phase="rcpt", code=550, enhanced="5.1.1", line=line, cause="user_unknown")
    with tracing.recording(f"file:{path}", "mailer"):
        kwargs: dict[str, Any] = {"lead_id": "l", "email_id": "m", "kind": Kind.WELCOME, "number": 2, "mode": "stream"}
        with attempt_span(PARENT, **kwargs) as made:
            note_outcome(made, Refused(failure))
    (span,) = written(path)
    assert span["status"]["description"] == "user_unknown"
    told = {name.removeprefix("leadstream."): value for name, value in span["attributes"].items()}
    assert told == {
        **{"lead_id": "l", "email_id": "m", "kind": "welcome", "attempt": 2, "mode": "stream"},
        **{"outcome": "refused", "smtp_code": 550, "smtp_enhanced": "5.1.1", "smtp_phase": "rcpt"},
    }
    assert "dana" not in path.read_text()


def batch(*of: tuple[str, str]) -> list[Delivery]:
    """Deliveries by lead and trace."""
    data = EmailSkipped(email_id="m", kind=Kind.WELCOME, subscriber_id=None, reason="x")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    events = [make_event(data, subject=lead, now=now, trace=trace) for lead, trace in of]
    return [Delivery(0, "s", f"{number}-0", {}, event) for number, event in enumerate(events)]


def traces(deliveries: Sequence[Delivery]) -> list[str]:
    return [each.event.trace for each in deliveries if each.event]


def test_a_batch_has_one_span_for_each_lead_and_parent_and_its_deliveries_carry_them(tmp_path: Path) -> None:
    path = tmp_path / "spans"
    given = [*batch(("a", PARENT), ("a", PARENT), ("b", PARENT), ("c", "")), Delivery(0, "s", "9-0", {}, None)]
    assert traced("fanout", given).deliveries is given
    with tracing.recording(f"file:{path}", "fanout"):
        spans = traced(f"{PROJECTION_PREFIX}totals", given)
        one, same, other, none = traces(spans.deliveries)
        assert one == same != other and none == "" and traces(given)[0] == PARENT
        spans.end()
        traced("fanout", given[:1]).end(ValueError("dana@example.com"))
        traced("fanout", given[:1])  # cut short: it never ends
    found = written(path)
    assert [(each["name"], each["attributes"]["leadstream.entries"]) for each in found] == [
        *(("project", 2), ("project", 1), ("fanout", 1))
    ]
    assert {each["parent_id"] for each in found} == {"0x" + PARENT[36:52]}
    assert found[2]["status"]["description"] == "ValueError"


class Collector(BaseHTTPRequestHandler):
    """Keeps what is exported to it, with its path."""

    got: ClassVar[list[tuple[str, ExportTraceServiceRequest]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.end_headers()


def test_a_collector_gets_spans_by_otlp_at_the_end_at_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        serving = threading.Thread(target=server.handle_request)
        serving.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setattr("leadstream_events.tracing_sdk.FLUSH_S", 60.0)  # the machine may be busy
        with tracing.recording("otlp", "mailer"):
            tracing.span("work", "CLIENT", PARENT).end()
        serving.join()
    ((path, request),) = Collector.got
    (of_process,) = request.resource_spans
    (scope,) = of_process.scope_spans
    assert (path, scope.spans[0].trace_id.hex()) == ("/v1/traces", PARENT[3:35])
    named = {each.key: each.value.string_value for each in of_process.resource.attributes}
    assert (named["service.namespace"], named["service.name"]) == ("leadstream", "leadstream-mailer")


@pytest.mark.parametrize("answers", [False, True], ids=["closed", "black hole"])
def test_a_dead_collector_holds_up_neither_the_work_nor_the_end(answers: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:  # takes connections and never answers
        port = hole.getsockname()[1] if answers else free_port()
        done = run(
            MANY_SPANS,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_TIMEOUT="600",  # what the SDK by itself would wait for, and longer than `run` does
            OTEL_BSP_MAX_QUEUE_SIZE="32",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="16",
        )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize(
    ("value", "kept"),
    [("off", "off"), ("otlp", "otlp"), (" console ", "console"), ("file:a b.jsonl", "file:a b.jsonl"), (False, "off")],
)
def test_an_exporter_is_read(value: object, kept: str) -> None:
    assert load_settings(otel_exporter=value).otel_exporter == kept


@pytest.mark.parametrize("value", ["", "jaeger", "file:", True])
def test_another_exporter_is_refused_by_name(value: object) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^LEADSTREAM_OTEL_EXPORTER: must be off, otlp, console or file:PATH$"
    ):
        load_settings(otel_exporter=value)


@pytest.mark.parametrize(
    ("exporter", "env", "told"),
    [
        ("file:/", {}, "LEADSTREAM_OTEL_EXPORTER: / cannot be written"),
        ("otlp", {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL"),
        ("otlp", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be a URL"),
        ("otlp", {"OTEL_BSP_MAX_QUEUE_SIZE": "1"}, "OTEL_BSP_"),
    ],
)
def test_what_cannot_be_exported_to_is_a_configuration_error(
    exporter: str, env: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught, tracing.recording(exporter, "api"):
        pass
    assert told in str(caught.value) and "\n" not in str(caught.value)
