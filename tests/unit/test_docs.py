"""The documentation hangs together: no broken link, and the index of decisions is whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_decision_stands_in_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    assert [page.name for page in ROOT.glob("docs/decisions/0*.md") if f"({page.name})" not in index] == []


@pytest.mark.parametrize("page", ["docs/walkthrough.md", "README.md"])
def test_every_file_that_a_guide_names_is_there(page: str) -> None:
    named = re.findall(r"`((?:libs|services|cli|tests|docs)/[\w./-]+)`", (ROOT / page).read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_verb_is_named_where_the_streams_are_described() -> None:
    page = (ROOT / "docs/streams.md").read_text()
    verbs = [file.stem for file in ROOT.glob("libs/events/leadstream_events/lua/*.lua")]
    assert verbs
    assert [verb for verb in verbs if f"`{verb}`" not in page] == []


def test_every_test_that_the_threat_model_names_is_there() -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/threat-model.md").read_text())
    source = "\n".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    written = set(re.findall(r"^(?:async )?def (test_\w+)\(", source, re.MULTILINE))
    assert len(named) > 50
    assert sorted(set(named) - written) == []
