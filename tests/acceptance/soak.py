"""Load for a long time with random kills, as a command: `python -m tests.acceptance.soak --minutes 30 --rate 50`.

Posts leads at a steady rate, kills a random process (or the server) every so often and starts it again, leaves all of
them alone for the last third, and follows the memory (PSS) of every process. Prints what became of every mail and how
memory developed. Exit code 1 when a mail was lost or went twice without being marked, a counter differs from the inbox,
or a process grew.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.outage import Load
from tests.support.house import House

SERVER = "redis"
KILL_EVERY_S = 20.0
SAMPLE_EVERY_S = 2.0
# The last third is without kills: then every process lives long enough to show a slow growth.
CALM = 1 / 3
# Caches fill, pools open and the first entries become old enough for the archive: what comes later must stay.
WARM_UP_S, LEAST_LIFE_S = 90.0, 240.0
GROWTH, GROWTH_KB = 0.10, 4_096
GREW = "GREW"
# The archiver joins small segments until they hold 100,000 entries: up to there it needs more from time to time.
CEILING_KB = {"archiver": 80 * 1024}


@dataclass
class Life:
    """The memory of one process from its start to its end: (seconds since its start, PSS in KiB)."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def judged(self) -> bool:
        """True when it lived long enough to be judged."""
        return bool(self.samples) and self.samples[-1][0] >= LEAST_LIFE_S

    def ends(self) -> tuple[int, int]:
        """The median of the first and of the last third after the warm-up, in KiB."""
        settled = [size for at, size in self.samples if at >= WARM_UP_S]
        third = max(1, len(settled) // 3)
        return int(statistics.median(settled[:third])), int(statistics.median(settled[-third:]))

    @property
    def flat(self) -> bool:
        """True unless the last third is above the first by more than a tenth and some MiB."""
        first, last = self.ends()
        return last <= first * (1 + GROWTH) + GROWTH_KB


class Memory:
    """Follows every process of a house.

    The server is followed and not judged: it holds an idempotency key of every lead for a day.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self.lives: dict[tuple[str, int], Life] = {}
        self._began: dict[tuple[str, int], float] = {}

    def sample(self, now_s: float) -> None:
        """Takes one sample of each process that runs."""
        running = [(name, process.pid) for name, process in self._house.processes.items() if process.alive()]
        for key in [*running, (SERVER, self._house.server.pid)]:
            began = self._began.setdefault(key, now_s)
            size = pss_kb(key[1])
            if size:
                self.lives.setdefault(key, Life()).samples.append((now_s - began, size))

    def lines(self) -> list[str]:
        """One line per process that lived long enough."""
        return [
            f"  {name:<12} pid {pid:<7} {life.samples[-1][0]:6.0f} s  {life.ends()[0] / 1024:6.1f} -> "
            f"{life.ends()[1] / 1024:6.1f} MiB  {verdict(name, life)}"
            for (name, pid), life in self.lives.items()
            if life.judged
        ]

    @property
    def flat(self) -> bool:
        """True when nothing grew."""
        return all(verdict(name, life) != GREW for (name, _), life in self.lives.items() if life.judged)


def verdict(name: str, life: Life) -> str:
    """What the memory of a process did, in a word or two."""
    if name == SERVER:
        return "not judged"
    if life.flat:
        return "flat"
    return f"below {CEILING_KB[name] >> 10} MiB" if life.ends()[1] <= CEILING_KB.get(name, 0) else GREW


def pss_kb(pid: int) -> int:
    """The proportional set size of a process (proc_pid_smaps(5)); 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


async def kill_at_random(house: House, choose: random.Random, until_s: float) -> Counter[str]:
    """Kills and restarts something every so often, and returns how often what was killed."""
    killed: Counter[str] = Counter()
    while (left_s := until_s - time.monotonic()) > KILL_EVERY_S:
        await asyncio.sleep(min(left_s, choose.uniform(0.5, 1.5) * KILL_EVERY_S))
        name = choose.choice([*house.processes, SERVER])
        killed[name] += 1
        if name == SERVER:
            await asyncio.to_thread(house.restart_server)
        else:
            await asyncio.to_thread(house.processes[name].restart, 60.0)
    return killed


async def soak(folder: Path, minutes: float, rate: float, seed: int) -> bool:
    """The whole run; True when every promise was kept."""
    until_s = time.monotonic() + 60 * minutes
    calm_from_s = until_s - CALM * 60 * minutes
    with House(folder, mailers=2, retain="60s") as house:
        house.start()
        await house.add_subscribers(2)
        load, memory = Load(house.base, rate), Memory(house)
        posting = asyncio.create_task(load.run())
        killing = asyncio.create_task(kill_at_random(house, random.Random(seed), calm_from_s))
        while time.monotonic() < until_s:
            await asyncio.to_thread(memory.sample, time.monotonic())
            await asyncio.sleep(SAMPLE_EVERY_S)
        load.stop()
        answers, killed = await posting, await killing
        leads = sorted(set(answers.leads))
        await house.settled(leads, within_s=300.0)
        report = await house.verify(leads)
    print(f"{minutes:g} minutes at {rate:g} leads/s, seed {seed}; killed: {dict(killed)}")
    print(f"posts={len(answers.seconds)} modes={dict(answers.modes)} p99={answers.percentile_s(0.99) * 1000:.0f} ms")
    print(report)
    print("memory (PSS), first and last third after the warm-up:", *memory.lines(), sep="\n")
    return memory.flat and not (report.lost or report.unmarked or report.strangers or report.differences)


def main() -> None:
    """Reads the options and runs."""
    parser = argparse.ArgumentParser(description="Load for a long time with random kills")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=50.0, help="leads per second")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leadstream-soak-") as folder:
        good = asyncio.run(soak(Path(folder) / "house", chosen.minutes, chosen.rate, chosen.seed))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
