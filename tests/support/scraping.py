"""Asks the services of a house for their metrics, as Prometheus does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.house import House
from tests.support.process import ServiceProcess
from tests.support.waiting import eventually_sync

ROOT = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"^\| `(leadstream_\w+)` \|([^|]*)\|", re.MULTILINE)


def documented() -> dict[str, frozenset[str]]:
    """Metric names of docs/observability.md with their labels."""
    text = (ROOT / "docs/observability.md").read_text()
    return {name: frozenset(re.findall(r"`(\w+)`", labels)) for name, labels in _ROW.findall(text)}


def metrics_base(process: ServiceProcess) -> str:
    """Where a worker answers, as its log says."""

    def place() -> str | None:
        found = re.search(r"127\.0\.0\.1:[1-9][0-9]{1,4}", process.text())
        return found[0] if found else None

    return f"http://{eventually_sync(place, 'the log to name the port')}"


def scrape(base: str) -> str:
    """The text of /metrics."""
    with httpx.Client(trust_env=False, timeout=20.0) as client:
        answer = client.get(f"{base}/metrics")
        assert answer.status_code == 200, answer.text
        return answer.text


def scrapes(house: House) -> dict[str, str]:
    """The text of every service by its name in the house."""
    bases = {name: metrics_base(process) for name, process in house.processes.items() if name != "api"}
    return {name: scrape(base) for name, base in {"api": house.base, **bases}.items()}


def names_in(text: str) -> set[str]:
    """Names of our metrics, counters with `_total`, whether they have a value yet or not."""
    found = re.findall(r"^# TYPE (leadstream_\w+) \w+$", text, re.MULTILINE)
    return {name for name in found if not name.endswith("_created")}


def labels_in(texts: Iterable[str]) -> dict[str, set[frozenset[str]]]:
    """For each of our metrics that has a value: the sets of labels that were seen."""
    out: dict[str, set[frozenset[str]]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            name = family.name + ("_total" if family.type == "counter" else "")
            for sample in family.samples:
                if name.startswith("leadstream_") and not sample.name.endswith("_created"):
                    out.setdefault(name, set()).add(frozenset(sample.labels) - {"le"})
    return out


def value(text: str, name: str, **labels: str) -> float | None:
    """The value of one sample; None when it is absent."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return None
