"""CPU of the reading commands: `python -m benchmarks.cli [--entries 1000000] [--rounds 9]`.

Twice: on an empty server, against a bare Python that imports redis (the ratio should be below 1.5), and with so many
entries in the streams (every command should stay below 0.5 s). The commands and the bare Python take turns, so that
whatever else the machine does hits all of them; medians of user + system time. Counts what the command's own process
uses: the server is another process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redis import Redis

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events.ids import WELCOME_RECIPIENT, email_id
from leadstream_events.schemas.events import Kind

BARE = "bare python, import redis"
MOST_RATIO, MOST_CPU_S = 1.5, 0.5
# Stream, entry id, fields.
Stored = tuple[str, str, dict[Any, Any]]
SUBSCRIBER = "01900000-0000-7000-8000-00000000000a"


def fill(client: Redis, entries: int) -> str:
    """Stores that many entries in leads, emails and outcomes, with groups at their ends; returns one lead's id."""
    leads = max(1, entries // 5)
    now_ms = int(time.time() * 1000) - leads
    lead_id = ""
    batch: list[Stored] = []
    for number in range(leads):
        lead_id = f"01900000-0000-7000-8000-{number:012x}"
        batch += _entries_of(lead_id, now_ms + number, number)
        if number in (0, leads // 2, leads - 1):
            _remember(client, lead_id, now_ms + number)
        if len(batch) >= 5_000:
            _store(client, batch)
            batch = []
    _store(client, batch)
    _finish(client, now_ms + leads - 1)
    return lead_id


def _entries_of(lead_id: str, ms: int, number: int) -> list[Stored]:
    lead = {"full_name": "Ann Other", "email": f"visitor{number}@example.com", "state": "CA", "zip_code": "94105",
            "vehicles": [{"year": 2020, "make": "Toyota", "model": "Corolla"}]}  # fmt: skip
    out = [("leads", f"{ms}-0", _fields(lead_id, "LeadReceived", {"lead": lead}))]
    for at, (kind, who) in enumerate(((Kind.NOTIFICATION, SUBSCRIBER), (Kind.WELCOME, WELCOME_RECIPIENT))):
        mail = email_id(lead_id, kind, who)
        of_mail = {"email_id": mail, "kind": kind.value, "subscriber_id": who if at == 0 else None}
        to = "buyer@example.com" if at == 0 else f"visitor{number}@example.com"
        request = of_mail | {"to": to, "lead_entry": f"{ms}-0"}
        sent = of_mail | {"attempt": 1, "code": 250, "reply": "2.0.0 ok", "message_id": f"<{mail}@example.com>"}
        out.append(("emails", f"{ms}-{at}", _fields(lead_id, "EmailRequested", request)))
        out.append(("outcomes", f"{ms}-{at}", _fields(lead_id, "EmailSent", sent)))
    return out


def _fields(lead_id: str, kind: str, data: Mapping[str, object]) -> dict[Any, Any]:
    time_ = "2026-01-31T09:00:00.000Z"
    envelope = {"id": lead_id, "type": kind, "v": "1", "time": time_, "subject": lead_id, "cause": "", "trace": ""}
    return envelope | {"data": json.dumps(data, separators=(",", ":"))}


def _store(client: Redis, batch: Sequence[Stored]) -> None:
    with client.pipeline(transaction=False) as pipe:
        for stream, entry_id, fields in batch:
            pipe.xadd(f"leadstream:{{0}}:{stream}", fields, id=entry_id)
        pipe.execute()


def _remember(client: Redis, lead_id: str, ms: int) -> None:
    """Ledger and timeline of a lead that will be traced."""
    ledger = f"leadstream:{{0}}:ledger:{lead_id}"
    client.hset(ledger, "lead", f"{ms}-0 fingerprint")
    for at, (kind, who) in enumerate(((Kind.NOTIFICATION, SUBSCRIBER), (Kind.WELCOME, WELCOME_RECIPIENT))):
        client.hset(ledger, email_id(lead_id, kind, who), f"sent 1 0 - - {ms} {ms}-{at}")
    client.hset(
        f"leadstream:{{0}}:p:leads:1:{lead_id}",
        mapping={"@a": f"leads {ms}-0", "@b": f"outcomes {ms}-0", "@c": f"outcomes {ms}-1"},
    )


def _finish(client: Redis, ms: int) -> None:
    projections = [f"projections.{name}" for name in ("totals", "subscribers", "leads", "series")]
    for stream, own in (("leads", "fanout"), ("emails", "mailer"), ("outcomes", "quota")):
        for group in (own, *projections):
            client.xgroup_create(f"leadstream:{{0}}:{stream}", group, "$", mkstream=True)
    # One group far behind: its lag is counted.
    client.xgroup_create("leadstream:{0}:outcomes", "late", f"{ms - 5_000}-0", mkstream=True)


def cpu_s(args: Sequence[str], env: Mapping[str, str], folder: Path) -> float:
    """User and system seconds of one run; fails when the command does."""
    process = subprocess.Popen(args, env=dict(env), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(args)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def measure(
    commands: Mapping[str, Sequence[str]], env: Mapping[str, str], folder: Path, rounds: int
) -> dict[str, float]:
    """The median CPU of each, in seconds; they take turns."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, args in commands.items():
            spent = cpu_s(args, env, folder)
            if number:  # the first round fills caches
                found[name].append(spent)
    return {name: statistics.median(values) for name, values in found.items()}


def commands_of(lead_id: str) -> dict[str, list[str]]:
    """What is measured. `leadstream` is started as its console script does it."""
    start = [sys.executable, "-c", "from leadstream_cli.main import main; main()"]
    lines = ("streams", "groups", "consumers mailer", "pending", "tail -n 20", "tail leads -n 20", "dead list",
             "operations", f"trace {lead_id}")  # fmt: skip
    return {BARE: [sys.executable, "-c", "import redis"], **{line: [*start, *line.split()] for line in lines}}


def report(found: Mapping[str, float], title: str) -> None:
    """Prints a table."""
    print(f"\n{title}\n{'':<58}{'CPU ms':>8}{'ratio':>8}")
    for name, value in found.items():
        print(f"{name[:56]:<58}{value * 1000:>8.0f}{value / found[BARE]:>8.2f}")


def main() -> int:
    """Runs both parts; 1 when a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = EmbeddedServer.start(folder / "server", extra=("--appendonly", "no", "--save", ""))
        try:
            return _run(server.url, folder, options.entries, options.rounds)
        finally:
            server.stop()


def _run(url: str, folder: Path, entries: int, rounds: int) -> int:
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env |= {"LEADSTREAM_REDIS_URL": url, "LEADSTREAM_CONFIG": str(folder / "absent.toml")}
    with Redis.from_url(url, protocol=2) as client:
        lead_id = fill(client, 5)
        small = measure(commands_of(lead_id), env, folder, rounds)
        report(small, "a few entries: start-up against a bare Python that imports redis")
        client.flushall()
        began = time.monotonic()
        lead_id = fill(client, entries)
        print(f"\nfilled {entries:,} entries in {time.monotonic() - began:.0f} s")
        commands = commands_of(lead_id)
        start = commands["streams"][:-1]
        middle = email_id(f"01900000-0000-7000-8000-{entries // 10:012x}", Kind.WELCOME, WELCOME_RECIPIENT)
        commands["trace <mail id, half way>"] = [*start, "trace", middle]
        commands["trace <address, the oldest>"] = [*start, "trace", "visitor0@example.com"]
        commands["top --once"] = [*start, "top", "--once"]
        large = measure(commands, env, folder, max(3, rounds // 3))
        report(large, f"{entries:,} entries")
    slow = [name for name, value in large.items() if value > MOST_CPU_S]
    late = [name for name, value in small.items() if value > MOST_RATIO * small[BARE] and not name.startswith("trace")]
    for name in slow:
        print(f"above {MOST_CPU_S} s: {name}")
    for name in late:
        print(f"above {MOST_RATIO} x bare: {name}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
