"""What spans cost: `python -m benchmarks.tracing [--leads 300] [--rounds 3] [--exporters off,file,otlp]`.

CPU (user and system) of the four services together for each lead with five notifications and a welcome, from the first
POST until every mail was counted. The exporters take turns, so that whatever else the machine does hits all of them.
`otlp` goes to a collector that reads and forgets, in the process of the benchmark. Reads /proc, so it needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.house import House

SUBSCRIBERS = 5
WARM_UP = 50


def cpu_s(pids: list[int]) -> float:
    """CPU that these processes have used (proc_pid_stat(5): utime and stime)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def ms_per_lead(house: House, leads: int) -> float:
    """Milliseconds of CPU for one lead."""
    await house.add_subscribers(SUBSCRIBERS)
    await house.settled(await house.post_leads(WARM_UP), within_s=120.0)
    pids = [process.pid for process in house.processes.values()]
    before = cpu_s(pids)
    await house.settled(await house.post_leads(leads, first=WARM_UP), within_s=300.0)
    return (cpu_s(pids) - before) * 1000 / leads


class Collector(BaseHTTPRequestHandler):
    """Says 200 to whatever is exported."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is worth a line."""


@contextmanager
def collecting() -> Iterator[str]:
    """Yields the address of a collector."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def measure(exporter: str, leads: int) -> float:
    """One run on a house of its own."""
    with tempfile.TemporaryDirectory() as name, collecting() as collector:
        folder = Path(name)
        wanted = f"file:{folder}/spans" if exporter == "file" else exporter
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        if exporter != "off":
            env["LEADSTREAM_OTEL_EXPORTER"] = wanted
        with House(folder / "house", mailers=1, appendfsync="no", **env) as house:
            house.start()
            return asyncio.run(ms_per_lead(house, leads))


def main() -> None:
    """Measures in turn and prints medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--leads", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--exporters", default="off,file,otlp")
    options = parser.parse_args()
    seen: dict[str, list[float]] = {name: [] for name in options.exporters.split(",")}
    for _ in range(options.rounds):
        for exporter, found in seen.items():
            found.append(measure(exporter, options.leads))
            print(f"{exporter:5} {found[-1]:.2f} ms of CPU per lead", flush=True)
    for exporter, found in seen.items():
        print(f"{exporter:5} median {statistics.median(found):.2f} ms of CPU per lead with {SUBSCRIBERS + 1} mails")


if __name__ == "__main__":
    main()
