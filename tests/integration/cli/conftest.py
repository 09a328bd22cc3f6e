"""Runs the command inside the test process, and as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from leadstream_cli.main import run

KEPT = ("PATH", "PYTHONPATH", "HOME", "TMPDIR", "LANG", "LC_ALL")


@dataclass(frozen=True, slots=True)
class Result:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture
def cli(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("groups", "--json")` against an empty server; a bug raises."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEADSTREAM_REDIS_URL", redis_url)
    monkeypatch.setenv("LEADSTREAM_DATA_DIR", str(tmp_path / "data"))

    def call(*args: str, code: int | None = 0) -> Result:
        capsys.readouterr()
        found = run(args)
        out, err = capsys.readouterr()
        assert code is None or found == code, f"exit code {found}\n{out}\n{err}"
        return Result(found, out, err)

    return call


def environment(values: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process: these settings, and nothing of the machine's."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"LEADSTREAM_CONFIG": "/nonexistent.toml", "PYTHONUNBUFFERED": "1"} | dict(values)


def command(*args: str) -> list[str]:
    """The command line of the real command."""
    return [sys.executable, "-m", "leadstream_cli.main", *args]


def run_process(*args: str, cwd: Path, env: Mapping[str, str], stdin: bytes = b"") -> Result:
    """Runs the command to its end."""
    done = subprocess.run(command(*args), cwd=cwd, env=environment(env), input=stdin, capture_output=True, timeout=60)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())
