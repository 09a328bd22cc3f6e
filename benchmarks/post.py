"""`POST /leads` alone: `python -m benchmarks.post [--leads 3000] [--rounds 5] [--connections 64]`. Linux only.

One API process with `appendfsync everysec` and one with `always`, each with its own server. They take turns, so that
whatever else the machine does hits both; medians of requests per second, of the time to the answer as clients see it,
and of the CPU of the API and of Redis per request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from benchmarks.flat import cpu_s
from benchmarks.micro import LEAD
from leadstream_cli.embedded import EmbeddedServer

FSYNC = ("everysec", "always")
_READY = "api ready on "


@dataclass(frozen=True)
class Running:
    """An API process and its Redis."""

    port: int
    api_pid: int
    redis_pid: int


@contextmanager
def running(appendfsync: str, folder: Path) -> Iterator[Running]:
    """Runs both; nothing sends mails."""
    with EmbeddedServer.start(folder / "redis", appendfsync=appendfsync) as server:
        env = os.environ | {
            "LEADSTREAM_REDIS_URL": server.url,
            "LEADSTREAM_DATA_DIR": str(folder),
            "LEADSTREAM_API_PORT": "0",
            "LEADSTREAM_APPEND_DEADLINE": "5",  # a slow machine must not make it a benchmark of the spool
        }
        command = [sys.executable, "-m", "leadstream_api"]
        with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as api:
            try:
                assert api.stderr is not None
                url = next(line for line in api.stderr if line.startswith(_READY)).removeprefix(_READY).strip()
                yield Running(int(urlsplit(url).port or 0), api.pid, server.pid)
            finally:
                api.terminate()


def request() -> bytes:
    """A POST of a lead, without an idempotency key: each time it is a new lead."""
    body = LEAD.model_dump_json(exclude_defaults=True)
    head = f"POST /leads HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


async def post(port: int, leads: int, connections: int) -> list[float]:
    """Sends that many leads, each connection one after the other; the seconds that each took."""
    sent, took = request(), []
    left = iter(range(leads))

    async def one_by_one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            began = time.perf_counter()
            writer.write(sent)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length:")[2].partition("\r\n")[0])
            answer = json.loads(await reader.readexactly(length))
            took.append(time.perf_counter() - began)
            if answer.get("mode") != "stream":
                raise SystemExit(f"not stored in Redis: {answer}")
        writer.close()

    await asyncio.gather(*(one_by_one() for _ in range(connections)))
    return took


def one_round(at: Running, leads: int, connections: int) -> tuple[float, ...]:
    """Requests per second, p50 and p99 in ms, CPU in µs of the API and of Redis per request."""
    before = cpu_s(at.api_pid), cpu_s(at.redis_pid)
    began = time.perf_counter()
    took = sorted(uvloop.run(post(at.port, leads, connections)))
    wall_s = time.perf_counter() - began
    api, redis = (cpu_s(pid) - had for pid, had in zip((at.api_pid, at.redis_pid), before, strict=True))
    p50, p99 = took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000
    return leads / wall_s, p50, p99, api / leads * 1e6, redis / leads * 1e6


def main() -> None:
    """Prints a table of medians; the first round warms up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leads", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    seen: dict[str, list[tuple[float, ...]]] = {appendfsync: [] for appendfsync in FSYNC}
    with ExitStack() as stack:
        both = {}
        for each in FSYNC:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            both[each] = stack.enter_context(running(each, folder))
        for _ in range(options.rounds + 1):
            for each, at in both.items():
                seen[each].append(one_round(at, options.leads, options.connections))
    print(f"{'appendfsync':12} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'µs API':>8} {'µs Redis':>8}")
    for each, runs in seen.items():
        cells = [statistics.median(column) for column in zip(*runs[1:], strict=True)]
        print(f"{each:12} {cells[0]:10.0f} {cells[1]:8.1f} {cells[2]:8.1f} {cells[3]:8.0f} {cells[4]:8.0f}")


if __name__ == "__main__":
    main()
