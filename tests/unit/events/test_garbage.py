"""The collector leaves a batch's living objects alone. In a process of its own: the collector is everybody's."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from leadstream_events.garbage import keep_what_is_loaded
keep_what_is_loaded()
before = gc.get_stats()[0]["collections"]
batch = [[number] for number in range({objects})]
print(gc.get_stats()[0]["collections"] - before)
"""


def collections(objects: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(objects=objects)], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


def test_a_batch_starts_no_collection_and_many_objects_do() -> None:
    assert collections(5_000) == 0
    assert collections(50_000) > 0
