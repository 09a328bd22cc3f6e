"""The load run of the first issue, as a command: `python -m tests.acceptance.load --leads 10000 --kill mailer`.

Posts leads to a whole house on real processes, kills what it is told to in the middle, and prints what was lost,
doubled and counted. Exit code 1 unless everything accepted arrived, doubles are marked and counters are exact.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.house import House, Report


async def run(house: House, leads: int, concurrency: int, kill: str | None, kills: int = 1) -> Report:
    """Posts the leads and kills one process at even distances; returns what came of it."""
    house.start()
    await house.add_subscribers(3)
    posting = asyncio.create_task(house.post_leads(leads, concurrency=concurrency))
    victim = _victim(house, kill) if kill else None
    for number in range(1, kills + 1 if victim else 1):
        await _until_arrived(house, leads * 4 * number // (kills + 1))
        assert victim is not None
        await asyncio.to_thread(victim)
    accepted = await posting
    await house.settled(accepted, within_s=300)
    return await house.verify(accepted)


def _victim(house: House, name: str) -> Callable[[], object]:
    return house.restart_server if name == "redis" else house.processes[name].restart


async def _until_arrived(house: House, count: int) -> None:
    while (await asyncio.to_thread(house.inbox.get, f"/wait?count={count}&timeout=60", 70.0))["mails"] < count:
        pass


async def main() -> int:
    """Runs once and prints the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leads", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--kill", choices=["api", "fanout", "mailer", "projections", "redis"])
    parser.add_argument("--kills", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, House(Path(folder)) as house:
        started = time.perf_counter()
        report = await run(house, options.leads, options.concurrency, options.kill, options.kills)
        seconds = time.perf_counter() - started
        rate = options.leads * 4 / seconds
        print(f"kill={options.kill} {report} in {seconds:.1f} s ({rate:.0f} mails/s)")
    return 1 if report.lost or report.unmarked or report.strangers or report.differences else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
