"""How fast a rebuild counts, and how much memory it takes: `python -m benchmarks.rebuild [--events 1000000]`.

Fills a server of its own with outcomes, then rebuilds in a process of its own, which is measured: the rate on the wall
clock and per second of its own CPU, and its memory at the end of each quarter. The server has another core, if there
is one.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events import keys
from leadstream_events.envelope import flat, make_event
from leadstream_events.ids import email_id
from leadstream_events.redis_client import connect
from leadstream_events.schemas import events as e
from leadstream_projections.counters import PROJECTIONS
from leadstream_projections.rebuild import rebuild

_MAILS_PER_LEAD = 10
_CHUNK = 1_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def outcome(number: int) -> list[str]:
    """One outcome of one mail, of every kind there is: nine of ten are sent."""
    lead, who = f"lead-{number // _MAILS_PER_LEAD:07}", f"subscriber-{number % 200:03}"
    mail = {"email_id": email_id(lead, e.Kind.NOTIFICATION, who), "kind": e.Kind.NOTIFICATION, "subscriber_id": who}
    now = START + timedelta(milliseconds=200 * number)
    failure = e.SmtpFailure(permanent=False, phase="rcpt", code=451, enhanced="4.2.0", line="try again later")
    data: e.EventData
    if number % 20 == 0:
        data = e.EmailDeferred(**mail, attempt=1, failure=failure, next_attempt_at=now)
    elif number % 50 == 1:
        data = e.EmailFailed(**mail, attempt=1, cause="refused", failure=failure)
    elif number % 100 == 2:
        data = e.EmailSkipped(**mail, reason="suppressed")
    elif number % 200 == 3:
        data = e.EmailOutcomeUnknown(**mail, attempt=1, policy="resend")
    elif number % 100 == 4:
        data = e.EmailBounced(**mail, bounce_class="hard", code=550)
    else:
        data = e.EmailSent(**mail, attempt=1, code=250, reply="2.0.0 queued as 4Zx9", message_id="<m@example.com>")
    return flat(make_event(data, subject=lead, now=now))


async def fill(url: str, count: int) -> None:
    """Appends the outcomes."""
    client = connect(url, timeout_s=60.0)
    for first in range(0, count, _CHUNK):
        async with client.pipeline(transaction=False) as pipe:
            for number in range(first, min(first + _CHUNK, count)):
                pipe.execute_command("XADD", keys.stream(0, keys.OUTCOMES), "*", *outcome(number))
            await pipe.execute()
    await client.aclose()


def resident_mb() -> float:
    """What this process holds now, where the system tells (Linux), else its maximum."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if "VmRSS" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(url: str, names: list[str]) -> dict[str, object]:
    """Rebuilds in this process; returns what it took."""
    client = connect(url, timeout_s=60.0)
    memory: list[float] = []
    total = counted = 0

    def begun(count: int) -> None:
        nonlocal total
        total = count

    def told(count: int) -> None:
        nonlocal counted
        counted += count
        if counted >= (len(memory) + 1) * total / 4:
            memory.append(resident_mb())

    wall, cpu = time.monotonic(), time.process_time()
    which = [each for each in PROJECTIONS if each.name in names]
    await rebuild(client, which, 1, begun=begun, told=told)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    await client.aclose()
    events = total // len(which)
    return {
        "projections": ",".join(names),
        "events": events,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "events_per_wall_s": round(events / wall),
        "events_per_cpu_s": round(events / cpu),
        "memory_mb_by_quarter": [round(each) for each in memory],
        "memory_mb_max": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """Fills once, then measures each projection alone and all of them together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--child", nargs=2, metavar=("URL", "NAMES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        gc.set_threshold(100_000, 20, 20)  # as the command does
        print(json.dumps(uvloop.run(measure(options.child[0], options.child[1].split(",")))))
        return
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer.start(Path(folder) / "redis", appendfsync="no")
        try:
            uvloop.run(fill(server.url, options.events))
            names = [each.name for each in PROJECTIONS]
            for some in (*([name] for name in names), names):
                child = [sys.executable, "-m", "benchmarks.rebuild", "--child", server.url, ",".join(some)]
                done = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True)
                print(done.stdout.splitlines()[-1], flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
