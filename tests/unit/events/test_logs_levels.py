"""Setting up logs again leaves the loggers alone: in a child they lie on pages that it shares with its parent."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import logging
from leadstream_events import logs
logs.setup("json", "parent")
other = logging.getLogger("other")
assert other.isEnabledFor(logging.INFO) and other._cache
logs.setup("json", "child")
assert other._cache
logs.setup("json", "child", level=logging.WARNING)
assert not other.isEnabledFor(logging.INFO)
"""


def test_loggers_are_written_to_only_where_the_level_changes() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
