"""The API is loaded without what it never uses of its libraries, and everybody else can still have that."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from leadstream_api.server import create_app
from leadstream_events.settings import load_settings
create_app(load_settings(redis_url="redis://127.0.0.1:1/0"))
found = {"attr", "click", "pydantic.v1", "uvicorn.main", "yaml"} & set(sys.modules)
assert not found, found
import yaml
assert yaml.safe_load("a: 1") == {"a": 1}
"""


def test_what_the_api_never_uses_is_left_out() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
