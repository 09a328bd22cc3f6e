"""Prints the spans of one lead as a tree, from a file that LEADSTREAM_OTEL_EXPORTER=file:PATH wrote.

    python examples/show_trace.py trace.jsonl [LEAD_ID|TRACE_ID]

Without an id it takes the first trace of the file. Times are from the start of the trace.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

SHOWN = ("kind", "group", "entries", "mode", "durability", "attempt", "outcome", "smtp_code")


def spans_of(path: Path, wanted: str) -> list[dict[str, Any]]:
    spans = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    named = [each for each in spans if wanted in (each["attributes"].get("leadstream.lead_id"), trace_of(each)[2:], "")]
    return [each for each in spans if trace_of(each) == trace_of(named[0])] if named else []


def trace_of(span: dict[str, Any]) -> str:
    return str(span["context"]["trace_id"])


def milliseconds(earlier: str, later: str) -> str:
    return f"{(datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds() * 1000:.0f} ms"


def lines(spans: list[dict[str, Any]]) -> list[str]:
    ordered = sorted(spans, key=lambda each: str(each["start_time"]))
    known, began = {each["context"]["span_id"] for each in spans}, ordered[0]["start_time"]
    out = [f"trace {trace_of(ordered[0])[2:]}"]

    def add(span: dict[str, Any], depth: int) -> None:
        told = span["attributes"]
        shown = " ".join(f"{name}={told[key]}" for name in SHOWN if (key := f"leadstream.{name}") in told)
        service = span["resource"]["attributes"]["service.name"].removeprefix("leadstream-")
        at, took = milliseconds(began, span["start_time"]), milliseconds(span["start_time"], span["end_time"])
        out.append(f"{'  ' * depth}{span['name']} ({service})  at {at}, {took}  {shown}".rstrip())
        for child in ordered:
            if child["parent_id"] == span["context"]["span_id"]:
                add(child, depth + 1)

    for span in ordered:
        if span["parent_id"] not in known:
            add(span, 1)
    return out


def main(args: list[str]) -> int:
    if not 1 <= len(args) <= 2:
        sys.stderr.write("usage: show_trace.py FILE [LEAD_ID|TRACE_ID]\n")
        return 2
    try:
        found = spans_of(Path(args[0]), args[1] if len(args) == 2 else "")
        text = "\n".join(lines(found)) if found else ""
    except OSError as error:
        sys.stderr.write(f"{args[0]} cannot be read: {error.strerror}\n")
        return 1
    except (ValueError, LookupError, TypeError, AttributeError):
        sys.stderr.write(f"{args[0]} has a line that is no span: LEADSTREAM_OTEL_EXPORTER=file:PATH writes them\n")
        return 1
    if not text:
        sys.stderr.write("no span of this is in the file\n")
        return 1
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
