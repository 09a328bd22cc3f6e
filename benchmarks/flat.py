"""Whether a mail costs the same as work grows: `python -m benchmarks.flat [--mails 6000] [--server PATH]`. Linux only.

CPU per mail of fan-out, mailer, projections and Redis, with 1, 100 and 1,000 subscribers, and with 1,000 and 1,000,000
entries already in the streams. The number of mails is the same everywhere, so with more subscribers there are fewer
leads: a cost that grows with subscribers shows, one per lead shrinks. The cases take turns, on a server of their own
each, so that whatever else the machine does hits all of them; medians. `--server` names the `valkey-server` or
`redis-server` to run instead of the bundled one: what an allocator makes of a million entries shows in its CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.micro import LEAD
from leadstream_cli.embedded import EmbeddedServer
from leadstream_cli.inbox import Inbox, Session
from leadstream_events import groups, keys
from leadstream_events.envelope import make_event
from leadstream_events.ids import new_id
from leadstream_events.log import StreamLog
from leadstream_events.redis_client import Client, connect
from leadstream_events.schemas.events import LeadReceived
from leadstream_events.schemas.subscriber import SubscriberDraft
from leadstream_events.settings import load_settings
from leadstream_events.subscribers import SubscriberStore, utc_now
from leadstream_events.vault import Vault, sealer_of
from leadstream_events.writer import PipelinedWriter

SERVICES = {
    "fan-out": ("leadstream_mailer", "fanout"),
    "mailer": ("leadstream_mailer", "mailer"),
    "projections": ("leadstream_projections",),
}
WARM_UP_MAILS = 200
# Copies of the last entry, made by the server: its groups are then moved behind them.
_COPY = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][2]
for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', unpack(last)) end
"""
_CHUNK = 20_000
# What is filled in within seconds would be rewritten under the mails that are measured.
NO_REWRITE = ("--auto-aof-rewrite-percentage", "0")


@dataclass(frozen=True)
class Case:
    """What is there before the mails that are measured."""

    subscribers: int
    entries: int


CASES = (Case(1, 1_000), Case(100, 1_000), Case(1_000, 1_000), Case(100, 1_000_000))


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def services(env: dict[str, str], folder: Path) -> Iterator[dict[str, int]]:
    """Runs the services; gives their process ids by name."""
    with ExitStack() as stack:
        found = {}
        for name, module in SERVICES.items():
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            command = [sys.executable, "-m", *module]
            process = stack.enter_context(subprocess.Popen(command, env=env, stdout=log, stderr=log))
            stack.callback(process.terminate)
            found[name] = process.pid
        yield found


async def append_leads(client: Client, count: int) -> None:
    """Appends sealed leads as the API does."""
    sealer = sealer_of(load_settings())
    async with PipelinedWriter(client) as writer:
        log = StreamLog(client, writer, partitions=1, deadline_s=60.0, vault=Vault(client, sealer))
        events = [make_event(LeadReceived(lead=LEAD), subject=new_id(), now=datetime.now(UTC)) for _ in range(count)]
        await asyncio.gather(*(log.append_lead(event, "f") for event in events))


async def settled(client: Client) -> None:
    """Returns once every group is there and has finished every entry."""
    while True:
        if not await unfinished(client):
            return
        await asyncio.sleep(0.1)


async def unfinished(client: Client) -> int:
    """How many deliveries are open, over all groups; one that a slow start has not created yet counts as one."""
    number = 0
    for stream in (keys.LEADS, keys.EMAILS, keys.OUTCOMES):
        name = keys.stream(0, stream)
        found = await client.xinfo_groups(name) if await client.exists(name) else []
        missing = set(groups.working_on(stream)) - {group["name"].decode() for group in found}
        number += len(missing) + sum(group["pending"] + (group["lag"] or 0) for group in found)
    return number


async def add_history(client: Client, entries: int) -> None:
    """Fills the streams with entries that every group has finished: a fifth leads, the rest half and half."""
    for stream, share in ((keys.LEADS, 0.2), (keys.EMAILS, 0.4), (keys.OUTCOMES, 0.4)):
        name, left = keys.stream(0, stream), int(entries * share)
        for first in range(0, left, _CHUNK):
            await client.eval(_COPY, 1, name, min(_CHUNK, left - first))
        for group in groups.working_on(stream):
            await client.xgroup_setid(name, group, "$", entries_read=await client.xlen(name))
    # One synced write: else the way of all of this to the disk is measured with the mails.
    await client.config_set("appendfsync", "always")
    await client.set("filled", entries)
    await client.config_set("appendfsync", "everysec")


async def mail(client: Client, inbox: Inbox, leads: int, subscribers: int) -> None:
    """Takes leads in and returns once all of their mails are sent and counted."""
    wanted = len(inbox.mails) + leads * subscribers
    await append_leads(client, leads)
    await inbox.wait_for(lambda now: len(now.mails) >= wanted)
    await settled(client)


async def measure(case: Case, mails: int, folder: Path, binary: Path | None) -> dict[str, float]:
    """CPU in ms per mail, by process."""
    inbox, warm_up = Inbox(keep=1), max(1, WARM_UP_MAILS // case.subscribers)
    smtp = await asyncio.get_running_loop().create_server(lambda: Session(inbox), "127.0.0.1", 0)
    port = smtp.sockets[0].getsockname()[1]
    with EmbeddedServer.start(folder / "redis", binary=binary, extra=NO_REWRITE) as server:
        own = {"REDIS_URL": server.url, "SMTP_URL": f"smtp://127.0.0.1:{port}", "RATE_LIMIT": "off", "WELCOME": "off"}
        env = os.environ | {f"LEADSTREAM_{name}": value for name, value in own.items()}
        env["LEADSTREAM_DATA_DIR"] = str(folder)
        client = connect(server.url, timeout_s=120.0)
        store = SubscriberStore(client)
        for number in range(case.subscribers):
            await store.add(SubscriberDraft(email=f"dealer{number}@example.com", name=f"Dealer {number}"), utc_now())
        with services(env, folder):
            await mail(client, inbox, warm_up, case.subscribers)
        await add_history(client, case.entries)
        with services(env, folder) as pids:
            await mail(client, inbox, warm_up, case.subscribers)
            pids["Redis"] = server.pid
            before = {name: cpu_s(pid) for name, pid in pids.items()}
            leads = max(1, mails // case.subscribers)
            await mail(client, inbox, leads, case.subscribers)
            sent = leads * case.subscribers
            found = {name: (cpu_s(pid) - before[name]) / sent * 1000 for name, pid in pids.items()}
        await client.aclose()
    smtp.close()
    return found | {"all": sum(found.values())}


def main() -> None:
    """Prints a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", type=Path)
    options = parser.parse_args()
    seen: dict[Case, list[dict[str, float]]] = {case: [] for case in CASES}
    for _ in range(options.rounds):
        for case in CASES:
            with tempfile.TemporaryDirectory() as folder:
                seen[case].append(asyncio.run(measure(case, options.mails, Path(folder), options.server)))
            print(case, {name: round(value, 3) for name, value in seen[case][-1].items()}, file=sys.stderr, flush=True)
    names = [*SERVICES, "Redis", "all"]
    print("CPU in ms per mail\n" + " ".join(f"{name:>12}" for name in ("subscribers", "entries", *names)))
    for case, runs in seen.items():
        cells = [f"{statistics.median(run[name] for run in runs):12.3f}" for name in names]
        print(f"{case.subscribers:12} {case.entries:12,} " + " ".join(cells), flush=True)


if __name__ == "__main__":
    main()
