"""Anchors lead somewhere, on GitHub and in the site that `make docs` builds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ANCHORED = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", FENCED.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number, unique = 0, slug
        while unique in found:
            number += 1
            unique = f"{slug}-{number}"
        found.add(unique)
    return found | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))


def broken(page: Path) -> list[str]:
    """The anchored links of a page that lead to no heading."""
    links = [link for link in ANCHORED.findall(FENCED.sub("", page.read_text())) if "://" not in link[0]]
    targets = [((page.parent / name) if name else page, anchor) for name, anchor in links]
    return [f"{file.name}#{anchor}" for file, anchor in targets if anchor not in anchors(file.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_anchor_of_a_page_is_a_heading(page: Path) -> None:
    assert broken(page) == []


def test_a_wrong_anchor_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `name`, two\n\n[good](#one-name-two) [bad](#three)\n")
    assert broken(page) == ["page.md#three"]


def test_the_site_builds_strictly_and_fetches_no_fonts_or_scripts(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    # Not --quiet: it keeps warnings from being counted, and --strict then passes whatever is broken.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list((tmp_path / "site").glob("**/*.html"))
    assert pages
    loaded = re.compile(r'<(?:script|img)[^>]+src="?https?:|<link[^>]+rel="?stylesheet"?[^>]+href="?https?:')
    assert [page.name for page in pages if loaded.search(page.read_text())] == []
