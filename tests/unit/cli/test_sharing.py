"""What the parent does to its memory around its forks. In processes of their own: it is the whole process's."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent is for Linux")

HOLES = """
from leadstream_cli.serving.sharing import before_forks
old = [bytes(79) for _ in range(20_000)] + [bytes(2000) for _ in range(2_000)]
for number in range(0, 22_000, 200):
    old[number] = None
{fill}
for size in (79, 2000):
    kept = [bytes(size) for _ in range(8)]
    print(len({{id(block) // 16_384 for block in kept}}))
"""


def run(program: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_new_objects_lie_together_and_not_in_the_holes_between_old_ones() -> None:
    assert min(run(HOLES.format(fill=""))) > 4
    assert max(run(HOLES.format(fill="filling = before_forks()"))) <= 3


CACHED_NAME = """
import sys
from leadstream_cli.serving.sharing import before_forks
name = sys.intern("a name that only " + str(len(sys.argv)))
before = sys.getrefcount(name)
getattr(object, name, None)
print(sys.getrefcount(name) - before)
filling = before_forks()
print(sys.getrefcount(name) - before)
"""


def test_names_that_were_looked_up_in_types_are_not_counted_any_more() -> None:
    before, after = run(CACHED_NAME)
    if before == 0:
        pytest.skip("this Python counts no references to names")
    assert after == 0
