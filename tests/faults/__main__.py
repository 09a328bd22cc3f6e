"""Measures every fault at full size and writes the table of docs/guarantees.md: `python -m tests.faults --leads 1000`.

Every line is a run on real processes; exit code 1 when one of them broke a promise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import incidents
from tests.faults.boundaries import APPEND, MAIL, OTHERS, run_boundary
from tests.faults.incidents import PHASES, cut, during, frozen
from tests.faults.rig import Rig
from tests.faults.table import GUARANTEES, Line, table, write

POLICIES = ("resend", "hold")
KILLS = 5

Measure = Callable[[Rig], Line]


def measures(leads: int) -> Iterator[Measure]:
    """Every line of the table, as a function of a rig."""
    after = max(20, leads // (KILLS + 3))
    for policy in POLICIES:
        for at in MAIL:
            yield lambda rig, at=at, policy=policy: run_boundary(  # type: ignore[misc]
                rig, at, leads=leads, after=after, policy=policy, kills=KILLS
            )
    for at in (*OTHERS, APPEND):
        yield lambda rig, at=at: run_boundary(rig, at, leads=leads, after=after, kills=KILLS)  # type: ignore[misc]
    for policy in POLICIES:
        for incident in _incidents():
            yield lambda rig, incident=incident, policy=policy: incident(rig, leads, policy)  # type: ignore[misc]
    yield lambda rig: incidents.restarts_meanwhile(rig, max(40, leads // 10), "resend")[0]


def _incidents() -> list[Callable[[Rig, int, str], Line]]:
    return [
        incidents.answer_lost,
        *(cut(phase) for phase in PHASES),
        incidents.greylisted,
        incidents.slow_data,
        incidents.killed_in_flight,
        during("Redis killed and restarted (appendfsync always)", incidents.redis_killed, KILLS),
        during("SCRIPT FLUSH", incidents.scripts_flushed, KILLS),
        *(frozen(step) for step in ("rcpt", "before_data", "after_data")),
    ]


def main() -> int:
    """Runs everything, prints each line as it comes, writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leads", type=int, default=1000)
    parser.add_argument("--dry-run", action="store_true", help="print the table and leave docs/guarantees.md alone")
    options = parser.parse_args()
    began, lines = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder), appendfsync="always") as rig:
        for measure in measures(options.leads):
            line = measure(rig)
            lines.append(line)
            print(line if line.kept else f"{line}  <-- promise broken", flush=True)
    broken = sum(not line.kept for line in lines)
    print(f"{len(lines)} runs in {time.monotonic() - began:.0f} s, {broken} broke a promise", file=sys.stderr)
    if not options.dry_run:
        write(table(lines))
        print(f"wrote {GUARANTEES.relative_to(GUARANTEES.parents[1])}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
