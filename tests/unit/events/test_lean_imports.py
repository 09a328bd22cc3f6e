"""Services import structlog without what paints tracebacks, and everybody else can still have that."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import leadstream_events.runtime
from structlog.stdlib import get_logger
assert not {"rich", "pygments", "colorama"} & set(sys.modules), sorted(sys.modules)
import rich.traceback
import structlog
assert structlog.__name__ == "structlog"
"""


def test_rich_is_left_out_of_services_and_importable_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
