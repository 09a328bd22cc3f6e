"""Proves the limit: `python -m tests.faults.rate --mailers 8 --limit 50/min --minutes 3`.

Mailer processes share a backlog; one after the other is killed with SIGKILL and started again. The inbox's own clock
tells how many mails arrived in any window of the limit's length, sliding over every arrival.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leadstream_events.limits import Rate, parse_rate
from tests.faults.faulty_process import FaultyProcess
from tests.faults.rig import Rig
from tests.support.waiting import eventually_sync

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_SHORTEST_SAMPLE_S = 3.0


@dataclass(frozen=True)
class Measured:
    """`most`: arrivals in the fullest window. `used`: long-run arrivals as a share of the limit. `cpu`: of a core."""

    mailers: int
    limit: Rate
    kills: int
    arrivals: int
    most: int
    used: float
    cpu: float

    def __str__(self) -> str:
        return (
            f"| {self.mailers} | {self.limit} | {self.kills} | {self.arrivals} | {self.most} | {self.used:.1%} "
            f"| {self.cpu:.2%} |"
        )


HEAD = (
    "| mailers | limit | killed | arrived | most in any window | of the limit used | CPU of a mailer |\n"
    "|--:|--:|--:|--:|--:|--:|--:|"
)


def fullest(arrivals: Sequence[float], window_s: float) -> int:
    """The greatest number of arrivals in any window [t, t + window_s); only windows that begin with one can be it."""
    times = sorted(arrivals)
    return max((bisect_left(times, at + window_s) - number for number, at in enumerate(times)), default=0)


def share_used(arrivals: Sequence[float], limit: Rate) -> float:
    """Arrivals after the first window's, over what the limit allowed from the first to the last arrival."""
    times = sorted(arrivals)
    passed_s = times[-1] - times[0]
    return (len(times) - limit.count) / (limit.count * passed_s * 1000 / limit.period_ms) if passed_s else 0.0


class Cpu:
    """The processor time of a service's present life, from now on."""

    def __init__(self, process: FaultyProcess) -> None:
        self._pid = process.child()
        self._from_s, self._used_s = time.monotonic(), self._read()

    def _read(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S

    def share(self) -> float:
        """Used since then, as a share of one core; 0 for a sample too short to mean anything."""
        passed_s = time.monotonic() - self._from_s
        return (self._read() - self._used_s) / passed_s if passed_s >= _SHORTEST_SAMPLE_S else 0.0


def measure(rig: Rig, mailers: int, limit: Rate, seconds: float, kill_every_s: float) -> Measured:
    """Runs the mailers for so long on a backlog that never ends, and looks at the arrivals."""
    rig.ensure("fanout")
    run = rig.append(int(limit.count * (seconds * 1000 / limit.period_ms + 2)))
    eventually_sync(lambda: rig.client.xlen("leadstream:{0}:emails") >= len(run.mails), "the backlog", 60.0)
    rig.stop_service("fanout")
    working = [
        rig.make(f"mailer{number}", "mailer", LEADSTREAM_RATE_LIMIT=str(limit)).start() for number in range(mailers)
    ]
    began, cpu, kills, greatest = time.monotonic(), {}, 0, 0.0
    for process in working:
        assert isinstance(process, FaultyProcess)
        cpu[process] = Cpu(process)
    while (now := time.monotonic()) < began + seconds:
        until = min(began + seconds, now + kill_every_s)
        eventually_sync(lambda until=until: time.monotonic() >= until, "the moment to kill", kill_every_s + 10)  # type: ignore[misc]
        victim = list(cpu)[kills % mailers]
        greatest = max(greatest, cpu[victim].share())
        victim.restart()
        cpu[victim] = Cpu(victim)
        kills += 1
    greatest = max(greatest, *(sample.share() for sample in cpu.values()))
    for process in cpu:
        process.kill()
    arrivals = [mail["at"] for mail in rig.inbox.get("/messages")]
    most = fullest(arrivals, limit.period_ms / 1000)
    return Measured(mailers, limit, kills, len(arrivals), most, share_used(arrivals, limit), greatest)


def main() -> int:
    """Measures for each number of mailers; exit code 1 when a limit was passed or left unused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mailers", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--limit", default="50/min")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--kill-every", type=float, default=10.0, help="seconds between two SIGKILLs")
    options = parser.parse_args()
    limit = parse_rate(options.limit)
    assert limit is not None, "a limit is needed"
    print(HEAD)
    good = True
    for count in options.mailers:
        with tempfile.TemporaryDirectory() as folder, Rig(Path(folder), LEADSTREAM_LEASE="5s") as rig:
            found = measure(rig, count, limit, options.minutes * 60, options.kill_every)
        print(found, flush=True)
        good &= found.most <= limit.count and found.used >= 0.95 and found.cpu < 0.02
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
