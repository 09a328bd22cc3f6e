"""The load of the first issue through `leadstream up`, as a command: `python -m tests.acceptance.up --leads 10000`.

Posts leads at concurrency 64 to three subscribers, the limit off, and compares inbox, counters and pending entries with
what was accepted. Exit code 1 unless every mail arrived exactly once and every counter fits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from leadstream_cli.runfile import RunFile, read_run_file
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.waiting import eventually

SUBSCRIBERS = 3


async def get(session: aiohttp.ClientSession, url: str) -> Any:
    """The JSON that a GET answers."""
    async with session.get(url) as answer:
        return await answer.json()


async def post_leads(session: aiohttp.ClientSession, url: str, count: int, concurrency: int) -> int:
    """Posts leads, as many at a time as told; returns how many were answered 202."""
    numbers, accepted = iter(range(count)), 0

    async def work() -> None:
        nonlocal accepted
        for number in numbers:
            lead = {"full_name": f"Visitor {number}", "email": f"v{number}@example.com", "state": "CA"}
            async with session.post(f"{url}/leads", json=lead) as answer:
                await answer.read()
                accepted += answer.status == 202

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return accepted


async def load(run: RunFile, leads: int, concurrency: int) -> list[str]:
    """Posts, waits until the inbox stands still at what is due, and returns what differs."""
    connector = aiohttp.TCPConnector(limit=concurrency + 4)
    async with aiohttp.ClientSession(connector=connector) as session:
        for number in range(SUBSCRIBERS):
            body = {"email": f"s{number}@example.com", "name": f"Subscriber {number}"}
            async with session.post(f"{run.api_url}/subscribers", json=body) as answer:
                assert answer.status == 201, await answer.text()
        started = time.perf_counter()
        accepted = await post_leads(session, run.api_url, leads, concurrency)
        posted = time.perf_counter()
        due = accepted * (SUBSCRIBERS + 1)

        async def arrived() -> bool:
            return bool((await get(session, f"{run.inbox_url}/counts"))["mails"] >= due)

        await eventually(arrived, f"{due} mails to arrive", 600.0)
        ended = time.perf_counter()
        print(f"{accepted} leads accepted in {posted - started:.1f} s ({accepted / (posted - started):.0f}/s)")
        print(f"{due} mails arrived in {ended - started:.1f} s ({due / (ended - started):.0f}/s)")

        async def counted() -> bool:
            if (await get(session, f"{run.api_url}/stats"))["sent"] < due:
                return False
            # Every other counter has a group of its own, which may be behind the one of /stats.
            streams = (await get(session, f"{run.api_url}/streams"))["items"]
            return not any(group["lag"] or group["pending"] for stream in streams for group in stream["groups"])

        await eventually(counted, "the counters to catch up", 60.0)
        return await compare(session, run, accepted)


async def compare(session: aiohttp.ClientSession, run: RunFile, accepted: int) -> list[str]:
    """What differs between accepted leads, inbox and counters."""
    due = accepted * (SUBSCRIBERS + 1)
    counts = await get(session, f"{run.inbox_url}/counts")
    stats = await get(session, f"{run.api_url}/stats")
    subscribers = await get(session, f"{run.api_url}/subscribers")
    seen = {
        "mails in the inbox": (counts["mails"], due),
        "mails that came twice": (counts["doubled"], 0),
        "leads counted": (stats["leads"], accepted),
        "mails counted": (stats["sent"], due),
    }
    for item in subscribers["items"]:
        seen[f"leads_sent of {item['name']}"] = (item["leads_sent"], accepted)
    for name, (value, wanted) in seen.items():
        print(f"{name:32} {value:>8}  due {wanted:>8}")
    return [f"{name}: {value}, not {wanted}" for name, (value, wanted) in seen.items() if value != wanted]


def pending(folder: Path) -> list[Any]:
    """What `leadstream pending` lists."""
    command = [sys.executable, "-m", "leadstream_cli.main", "pending", "--json"]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    print(f"leadstream pending: {answer.stdout.strip() or 'nothing'}")
    return [json.loads(line) for line in answer.stdout.splitlines() if line.strip() not in ("", "[]")]


def main() -> int:
    """Runs once and prints what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leads", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        args = ["up", "--port", str(free_port()), "--redis-port", str(free_port())]
        up = ServiceProcess(
            args,
            env={"LEADSTREAM_RATE_LIMIT": "off"},
            output=folder / "up.log",
            ready_line="leadstream is ready",
            cwd=folder,
        )
        with up:
            run = read_run_file(folder / "data")
            assert run is not None, up.text()
            differences = asyncio.run(load(run, options.leads, options.concurrency))
            differences += [f"pending: {entry}" for entry in pending(folder)]
            up.terminate()
    print("\n".join(differences) or "OK: every mail exactly once, every counter fits, nothing pending")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
