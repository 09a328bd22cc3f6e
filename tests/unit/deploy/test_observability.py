"""Alert rules, dashboard and Prometheus' own file name metrics, labels, services and ports that exist.

The table of docs/observability.md, which they are held against, is itself held against a live scrape
(tests/integration/observability).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support import promql
from tests.support.scraping import documented
from tests.unit.deploy.dockerfile import ROOT
from tests.unit.test_commands_in_docs import wrong_in

FOLDER = ROOT / "deploy/observability"
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana/dashboards/leadstream.json").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
PROMETHEUS: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
PAGE = (ROOT / "docs/observability.md").read_text()
KNOWN = documented() | {"up": frozenset[str]()}
OF_PROMETHEUS = frozenset(("job", "instance", "le"))

QUERIES = [
    (panel["title"], target["expr"], target["legendFormat"])
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def labels_left(expression: promql.Expression) -> frozenset[str]:
    """The labels that a result can have: those it is grouped by, or else those of its metrics."""
    return expression.grouped or OF_PROMETHEUS.union(*(KNOWN[name] for name in expression.metrics))


def check(text: str) -> promql.Expression:
    """Reads an expression and looks for every metric and label in the table."""
    found = promql.read(text)
    assert found.metrics <= KNOWN.keys()
    assert found.grouped <= OF_PROMETHEUS.union(*(KNOWN[name] for name in found.metrics))
    assert [(name, label) for name, label in found.matched if label not in KNOWN[name] | OF_PROMETHEUS] == []
    return found


@each_rule
def test_a_rule_names_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    expression = check(rule["expr"])
    used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    assert used <= labels_left(expression)


@pytest.fixture(scope="module")
def at_start() -> str:
    """What mailer, archiver and a consumer show before anything has happened."""
    code = (
        "import prometheus_client as p, leadstream_archiver.metrics, leadstream_mailer.metrics\n"
        "from leadstream_events.runtime.hooks import Hooks; Hooks('g'); print(p.generate_latest().decode())"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout


def test_an_archiver_that_has_measured_nothing_does_not_say_that_redis_is_full(at_start: str) -> None:
    assert "leadstream_redis_memory_lasts_seconds +Inf" in at_start


def test_what_looks_for_an_increase_sees_the_first_one(at_start: str) -> None:
    """A counter whose labels come with its first 1 shows no increase then: it is there before, or looked for."""
    made = set(re.findall(r"^(leadstream_\w+_total)[ {]", at_start, re.MULTILINE))
    expressions = [rule["expr"] for rule in RULES] + [query for _, query, _ in QUERIES]
    asked = {(name, text) for text in expressions for name in re.findall(r"increase\((\w+)", text)}
    assert len(asked) > 5
    assert [name for name, text in asked if name not in made and f"{name} unless {name} offset" not in text] == []


def test_no_sum_of_rates_is_without_a_number_where_no_series_is() -> None:
    expressions = [rule["expr"] for rule in RULES] + [query for _, query, _ in QUERIES]
    sums = [found for text in expressions for found in re.findall(r"sum\(rate\([^()]*\)\)(.{0,13})", text)]
    assert sums and set(sums) == {" or vector(0)"}


def test_whoever_prometheus_asks_has_an_alert_for_not_being_there() -> None:
    asked = {name for job in PROMETHEUS["scrape_configs"] for each in job["dns_sd_configs"] for name in each["names"]}
    names = {rule["alert"] for rule in RULES}
    assert {name for name in asked if f"LeadstreamNo{name.title()}" not in names} == set()


@each_rule
def test_a_rule_says_what_is_wrong_and_what_to_do_and_stands_on_the_page(rule: dict[str, Any]) -> None:
    assert rule["annotations"].keys() == {"summary", "mend"} and all(rule["annotations"].values())
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert f"| `{rule['alert']}` |" in PAGE
    commands = re.findall(r"leadstream ([^,.;:()]+)", rule["annotations"]["mend"])
    assert [wrong for wrong in map(wrong_in, commands) if wrong] == []


def test_the_page_names_no_other_alert_and_no_name_stands_twice() -> None:
    names = [rule["alert"] for rule in RULES]
    assert sorted(names) == sorted(re.findall(r"^\| `(Leadstream\w+)` \|", PAGE, re.MULTILINE))


@pytest.mark.parametrize(("title", "query", "legend"), QUERIES)
def test_a_panel_asks_for_metrics_and_labels_that_exist(title: str, query: str, legend: str) -> None:
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels_left(check(query)), title


def test_the_dashboard_is_whole() -> None:
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    panels = DASHBOARD["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    places = [(place["x"] + x, place["y"] + y) for place in (panel["gridPos"] for panel in panels)
              for x in range(place["w"]) for y in range(place["h"])]  # fmt: skip
    assert len(places) == len(set(places)), "panels overlap"
    assert max(x for x, _ in places) < 24


def test_prometheus_asks_services_that_exist_at_ports_where_they_answer() -> None:
    jobs = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
    asked = {name: each["port"] for job in jobs.values() for each in job["dns_sd_configs"] for name in each["names"]}
    environments = {name: COMPOSE["services"][name]["environment"] for name in asked}
    api = environments.pop("api")
    assert asked.pop("api") == int(api["LEADSTREAM_API_PORT"])
    assert set(asked) == {"fanout", "mailer", "projections", "archiver", "bounces"}
    listens = {each["LEADSTREAM_METRICS_LISTEN"] for each in environments.values()}
    assert {f"${{LEADSTREAM_METRICS_LISTEN:-0.0.0.0:{port}}}" for port in asked.values()} == listens
    assert all(set(COMPOSE["services"][name]["networks"]) & {"backend"} for name in asked)


def test_what_prometheus_and_grafana_read_is_mounted_where_they_look() -> None:
    mounts = {
        target: source
        for name in ("prometheus", "grafana")
        for source, target, _ in (
            each.split(":") for each in COMPOSE["services"][name]["volumes"] if each.count(":") == 2
        )
    }
    assert all((ROOT / source).exists() for source in mounts.values())
    assert set(PROMETHEUS["rule_files"]) <= mounts.keys()
    key = PROMETHEUS["scrape_configs"][0]["authorization"]["credentials_file"]
    assert Path(key).name in COMPOSE["services"]["prometheus"]["secrets"]
    provider = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/leadstream.yml").read_text())["providers"][0]
    assert (ROOT / mounts[provider["options"]["path"]] / "leadstream.json").exists()


@pytest.mark.parametrize(
    "text",
    ["sum(rate(a[5m])", "rate(a[5x])", "summ(a)", 'a{b~"c"}', "sum by (x) (rate(a[5m])))", "1 + 2", "a $ b"],
)
def test_the_reader_of_expressions_refuses_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        promql.read(text)


def test_the_reader_of_expressions_finds_metrics_and_labels() -> None:
    found = promql.read('histogram_quantile(0.5, sum by (le, x) (rate(a_bucket{b="c"}[5m]))) > 2 unless d offset 1h')
    assert found == promql.Expression(frozenset(("a", "d")), frozenset(("le", "x")), frozenset((("a", "b"),)))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool in PATH")
def test_promtool_takes_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(FOLDER / "alerts.yml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
