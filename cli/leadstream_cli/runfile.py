"""`up.json` in the data directory: where a running `leadstream up` listens, so that other commands find it.

It is believed only while its process runs; a file left by a killed process is ignored.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "up.json"


@dataclass(frozen=True, slots=True)
class RunFile:
    """Addresses of a running `leadstream up`; `inbox_url` is empty when mail goes to a real server."""

    pid: int
    redis_url: str
    api_url: str
    smtp_url: str
    inbox_url: str


def write_run_file(data_dir: Path, run: RunFile) -> Path:
    """Writes the file for this user's eyes only and returns its path."""
    path = data_dir / NAME
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(asdict(run)))
    fresh.replace(path)
    return path


def read_run_file(data_dir: Path) -> RunFile | None:
    """The running `leadstream up` of this directory, or None."""
    try:
        run = RunFile(**json.loads((data_dir / NAME).read_text()))
        os.kill(run.pid, 0)
    except PermissionError:
        return run
    except (OSError, ValueError, TypeError):
        return None
    return run
