"""What sealing costs: `python -m benchmarks.sealing [LEADS]`, per lead here, and in a whole house, on and off in turn.

The house is real processes over an embedded server with `appendfsync always`; each round posts LEADS leads (three
subscribers and the welcome mail, so four mails each) and waits for every mail. CPU is that of the house's processes.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from leadstream_events.envelope import decode, encode, make_event
from leadstream_events.ids import new_id
from leadstream_events.schemas.events import LeadReceived
from leadstream_events.sealed_leads import open_lead, seal_lead
from leadstream_events.sealing import KeyRing
from leadstream_mail.sample import SAMPLE_LEAD
from tests.support.house import House

ROUNDS = 5
WRAPPING = KeyRing({"k1": bytes(32)})


def _us(work: Callable[[], object], number: int = 3_000) -> float:
    """Median CPU of one call, in µs."""
    found = []
    for _ in range(ROUNDS):
        own = time.process_time()
        for _ in range(number):
            work()
        found.append((time.process_time() - own) / number * 1e6)
    return statistics.median(found)


def per_lead() -> None:
    """Prints what sealing and opening take, and reading an entry with and without."""
    event = make_event(LeadReceived(lead=SAMPLE_LEAD), subject=new_id(), now=datetime.now(UTC))
    plain = {name.encode(): value.encode() for name, value in encode(event).items()}
    for name, ring in (("key stored as it is", KeyRing()), ("key wrapped", WRAPPING)):
        sealed = seal_lead(event, ring)
        stored = {key.encode(): value.encode() for key, value in encode(sealed.event).items()}
        print(f"{name:22} seal {_us(partial(seal_lead, event, ring)):6.1f} µs", end="  ")
        print(f"open {_us(partial(open_lead, sealed.event, sealed.key, ring)):6.1f} µs", end="  ")
        print(f"entry {len(stored[b'data'])} bytes instead of {len(plain[b'data'])}, key {len(sealed.key)} bytes")
    print(f"reading an entry: plain {_us(lambda: decode(plain)):.1f} µs, sealed {_us(lambda: decode(stored)):.1f} µs")


def _cpu_s(house: House) -> float:
    ticks = 0
    for process in house.processes.values():
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def _round(leads: int, encryption: str) -> tuple[float, float, float]:
    """Leads accepted per second, mails per second, CPU in ms per lead."""
    with (
        tempfile.TemporaryDirectory() as folder,
        House(Path(folder), LEADSTREAM_ENCRYPTION=encryption) as house,
    ):
        house.start()
        await house.add_subscribers(3)
        before, started = _cpu_s(house), time.perf_counter()
        accepted = await house.post_leads(leads, concurrency=32)
        posted = time.perf_counter()
        await house.settled(accepted, within_s=300)
        ended = time.perf_counter()
        return leads / (posted - started), 4 * leads / (ended - started), (_cpu_s(house) - before) / leads * 1e3


async def in_a_house(leads: int) -> None:
    """Prints each round and the medians."""
    found: dict[str, list[tuple[float, float, float]]] = {"on": [], "off": []}
    for _ in range(ROUNDS):
        for encryption, rounds in found.items():
            rounds.append(await _round(leads, encryption))
            print(f"{encryption:4} " + "  ".join(f"{value:8.1f}" for value in rounds[-1]), flush=True)
    for encryption, rounds in found.items():
        accepted, mails, cpu = (statistics.median(each) for each in zip(*rounds, strict=True))
        print(f"{encryption:4} median: {accepted:.0f} leads/s accepted, {mails:.0f} mails/s, {cpu:.2f} ms CPU a lead")


if __name__ == "__main__":
    per_lead()
    asyncio.run(in_a_house(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
