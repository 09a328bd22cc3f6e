"""An outage of Redis under load, as a command: `python -m tests.faults.outage --seconds 60 --rate 20 --how stop`.

Posts leads at a steady rate before, during and after; stops, kills or freezes Redis meanwhile, with `kill-api` kills
the API too while Redis is down. Prints how the POSTs were answered and what became of every mail. Exit code 1 unless
every lead was taken, mails arrived during the outage, nothing was lost, no mail went twice without being marked, and
the counters equal the inbox.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.house import House, Report
from tests.support.spool_facts import in_spool, leads_in_the_spool
from tests.support.waiting import eventually

STOP, KILL, FREEZE, KILL_API = "stop", "kill", "freeze", "kill-api"
HOWS = (STOP, KILL, FREEZE, KILL_API)


@dataclass
class Answers:
    """How POSTs were answered. `refused_connections` only happen while the API itself is dead."""

    seconds: list[float] = field(default_factory=list)
    modes: Counter[str] = field(default_factory=Counter)
    others: Counter[int] = field(default_factory=Counter)
    leads: list[str] = field(default_factory=list)
    refused_connections: int = 0

    def percentile_s(self, share: float) -> float:
        """The time within which this share of the POSTs was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


@dataclass
class Result:
    """What a run came to."""

    answers: Answers
    arrived_meanwhile: int
    report: Report

    @property
    def good(self) -> bool:
        """True when every promise was kept."""
        report = self.report
        broken = report.lost or report.unmarked or report.strangers or report.differences
        return not broken and not self.answers.others and self.arrived_meanwhile > 0

    def __str__(self) -> str:
        answers = self.answers
        return (
            f"posts={len(answers.seconds)} modes={dict(answers.modes)} other answers={dict(answers.others)} "
            f"p50={answers.percentile_s(0.5) * 1000:.0f} ms p99={answers.percentile_s(0.99) * 1000:.0f} ms "
            f"slowest={answers.percentile_s(1.0) * 1000:.0f} ms\n"
            f"arrived while redis was down={self.arrived_meanwhile}\n{self.report}"
        )


class Load:
    """POSTs leads at a rate, each in a task of its own, so that a slow answer does not slow the load."""

    def __init__(self, base: str, rate: float) -> None:
        self.answers = Answers()
        self._base, self._rate = base, rate
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ends the load; what was sent is still waited for."""
        self._stopping.set()

    async def run(self) -> Answers:
        """Runs until stopped."""
        async with (
            httpx.AsyncClient(base_url=self._base, trust_env=False, timeout=30.0) as client,
            asyncio.TaskGroup() as tasks,
        ):
            started_s = time.perf_counter()
            for number in itertools.count():
                tasks.create_task(self._post(client, number))
                wait_s = started_s + (number + 1) / self._rate - time.perf_counter()
                try:
                    async with asyncio.timeout(max(0.0, wait_s)):
                        await self._stopping.wait()
                    break
                except TimeoutError:
                    continue
        return self.answers

    async def _post(self, client: httpx.AsyncClient, number: int) -> None:
        lead = {"full_name": f"Visitor {number}", "email": f"v{number}@example.com", "state": "CA"}
        headers = {"Idempotency-Key": f"outage-{number}"}
        while True:
            started_s = time.perf_counter()
            try:
                answer = await client.post("/leads", json=lead, headers=headers)
            except httpx.TransportError:  # the API is dead: the client tries again under its key
                self.answers.refused_connections += 1
                await asyncio.sleep(0.1)
                continue
            self.answers.seconds.append(time.perf_counter() - started_s)
            if answer.status_code != 202:
                self.answers.others[answer.status_code] += 1
                await asyncio.sleep(0.2)
                continue
            self.answers.modes[answer.json()["mode"]] += 1
            self.answers.leads.append(answer.json()["lead_id"])
            return


class Outage:
    """Takes Redis away and brings it back."""

    def __init__(self, house: House, how: str) -> None:
        self._house, self._how = house, how

    def begin(self) -> None:
        """From now on Redis answers nobody."""
        if self._how == FREEZE:
            os.kill(self._house.server.pid, signal.SIGSTOP)
        elif self._how == STOP:
            self._house.server.stop()
        else:
            self._house.server.kill()

    def end(self) -> None:
        """Redis is back, with what its disk holds."""
        if self._how == FREEZE:
            os.kill(self._house.server.pid, signal.SIGCONT)
        else:
            self._house.start_server()


async def run(house: House, how: str, seconds: float, rate: float, subscribers: int = 3) -> Result:
    """One run on a house that was started; `seconds` is how long Redis is away."""
    await house.add_subscribers(subscribers)
    load = Load(house.base, rate)
    running = asyncio.create_task(load.run())
    await eventually(lambda: _posted(load, max(5, rate)), "the load to be under way")
    outage = Outage(house, how)
    await asyncio.to_thread(outage.begin)
    began_s, before = time.monotonic(), await _arrived(house)
    if how == KILL_API:
        await asyncio.sleep(seconds / 2)
        await eventually(lambda: frozen_between_mails(house), "the API to have no mail under way")
        await asyncio.to_thread(house.processes["api"].restart)
    await asyncio.sleep(max(0.0, began_s + seconds - time.monotonic()))
    meanwhile = await _arrived(house) - before
    await asyncio.to_thread(outage.end)
    back = len(load.answers.leads)
    await eventually(lambda: _posted(load, back + max(5, rate)), "the load to go on")
    load.stop()
    answers = await running
    await eventually(lambda: merged(house), "the spool to be merged", 60.0 + seconds)
    await house.settled(answers.leads, within_s=60.0 + 2 * seconds)
    return Result(answers, meanwhile, await house.verify(answers.leads))


async def _posted(load: Load, count: float) -> bool:
    return len(load.answers.leads) >= count


async def merged(house: House) -> bool:
    """True when nothing waits in the spool."""
    return leads_in_the_spool(house.folder / "data") == 0


async def frozen_between_mails(house: House) -> bool:
    """Stops the API; true when it has no mail under way, so that a kill doubles none; else it goes on.

    A mail is on disk as under way before anybody dials. One whose answer is not on disk yet would go twice, marked.
    """
    os.kill(house.processes["api"].pid, signal.SIGSTOP)
    under_way = True
    try:
        under_way = bool(in_spool(house.folder / "data", "SELECT 1 FROM mails WHERE state = 'sending'"))
    finally:
        if under_way:
            os.kill(house.processes["api"].pid, signal.SIGCONT)
    return not under_way


async def _arrived(house: House) -> int:
    return int((await asyncio.to_thread(house.inbox.get, "/stats"))["mails"])


async def main() -> int:
    """Runs once and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=20.0, help="leads per second")
    parser.add_argument("--how", choices=HOWS, default=STOP)
    parser.add_argument("--logs", type=Path, help="keep everything in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, House(options.logs or Path(folder)) as house:
        house.start()
        result = await run(house, options.how, options.seconds, options.rate)
        print(f"how={options.how} seconds={options.seconds:g} rate={options.rate:g}/s\n{result}")
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
