"""Every metric of every service, from a live scrape, against docs/observability.md; and what they count."""

from __future__ import annotations

import re

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support import scraping
from tests.support.house import ROOT, House
from tests.support.waiting import eventually_sync


def test_the_page_names_every_metric_of_a_live_scrape_and_no_other(house: House) -> None:
    texts = scraping.scrapes(house)
    seen = set().union(*(scraping.names_in(text) for text in texts.values()))
    assert seen == set(scraping.documented())


def test_what_happened_to_mails_is_counted_by_kind_and_class(house: House) -> None:
    text = scraping.scrapes(house)["mailer"]
    assert scraping.value(text, "leadstream_mails_sent_total", kind="notification") == 4.0
    assert scraping.value(text, "leadstream_mails_sent_total", kind="welcome") == 1.0
    assert scraping.value(text, "leadstream_mails_failed_total", **{"class": "user_unknown"}) == 1.0
    assert scraping.value(text, "leadstream_dead_letters_total", group="mailer", cause="user_unknown") == 1.0
    assert scraping.value(text, "leadstream_events_appended_total", type="EmailSent") == 5.0
    assert scraping.value(text, "leadstream_post_to_accepted_seconds_count") == 5.0
    assert scraping.value(text, "leadstream_post_to_accepted_seconds_bucket", le="600.0") == 5.0
    assert scraping.value(text, "leadstream_rate_limit_per_second") == float("inf")
    assert scraping.value(text, "leadstream_smtp_connections", state="open") is not None  # 0 once it was idle for long
    given_up = [line for line in house.processes["mailer"].text().splitlines() if "mail given up" in line]
    assert len(given_up) == 1 and "user_unknown" in given_up[0]
    assert re.search(r"lead=[0-9a-f-]{36} mail=[0-9a-f-]{36}", given_up[0])


def test_every_series_has_the_labels_that_the_page_names(house: House) -> None:
    known = scraping.documented()
    seen = scraping.labels_in(scraping.scrapes(house).values())
    assert {name: labels for name, labels in seen.items() if labels != {known[name]}} == {}
    assert len(seen) > 40


@pytest.mark.parametrize("service", ["api", "fanout", "mailer", "projections", "archiver", "bounces"])
def test_the_series_by_whose_absence_a_service_is_missed_is_its_own(house: House, service: str) -> None:
    rules = yaml.safe_load((ROOT / "deploy/observability/alerts.yml").read_text())["groups"][0]["rules"]
    expr = next(rule["expr"] for rule in rules if rule["alert"] == f"LeadstreamNo{service.title()}")
    name, group = re.search(r'(leadstream_\w+)(?:\{group="([\w.]+)"\})?', expr).groups()  # type: ignore[union-attr]
    labels = {"group": group} if group else {}
    texts = scraping.scrapes(house)
    assert [who for who, text in texts.items() if scraping.value(text, name, **labels) is not None] == [service]


def test_each_service_shows_how_its_own_groups_stand(house: House) -> None:
    known = {"fanout", "quota", "mailer", "projections.totals"}
    wanted = {"fanout": {"fanout", "quota"}, "mailer": {"mailer"}, "projections": {"projections.totals"}}

    def shown() -> bool:  # a service that met a slow Redis shows none for a moment
        groups = {
            name: {group for group in known if _lag(text, group) is not None}
            for name, text in scraping.scrapes(house).items()
        }
        return {name: found for name, found in groups.items() if found} == wanted

    eventually_sync(shown, "each service to show its own groups, and no others")


def _lag(text: str, group: str) -> float | None:
    return scraping.value(text, "leadstream_group_lag_entries", group=group)
