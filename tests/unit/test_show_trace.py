"""The example that prints a trace says what is wrong with its file, and never shows a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "show_trace.py"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"no JSON\n", "has a line that is no span"),
        (b"\xff\xfe", "has a line that is no span"),
        (b"[]\n", "has a line that is no span"),
        (b"{}\n", "has a line that is no span"),
        (b"", "no span of this"),
    ],
)
def test_a_file_that_holds_no_spans_is_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "trace.jsonl"
    if content is not None:
        path.write_bytes(content)
    done = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr and len(done.stderr.splitlines()) == 1
