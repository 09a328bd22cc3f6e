"""The recipe of docs/operations.md: a backup taken under load and restored elsewhere sends nothing twice.

The first house goes on after the backup and is then killed: what it sent meanwhile, the restored one cannot know. The
SMTP server's own record stands for its log. A disk that is slow for a moment is no outage here: the API would mail.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.exceptions import RedisError

from leadstream_cli.embedded import bundled_binary
from leadstream_events import keys
from leadstream_events.redis_client import connect
from leadstream_events.restoring import unread_by_fanout
from tests.support.house import House
from tests.support.ports import free_port
from tests.support.spool_facts import leads_in_the_spool
from tests.support.waiting import DEADLINE_S, eventually

pytestmark = pytest.mark.slow

BEFORE, AFTER = 40, 20
PATIENCE = "10s"


async def backup(house: House, to: Path) -> None:
    """A copy of the data directory, BGSAVE, and a copy of the file."""
    _copy_data(house.folder / "data", to / "data")
    client = connect(house.server.url, timeout_s=10.0)
    try:
        since = await client.lastsave()
        await client.bgsave()

        async def saved() -> bool:
            info = await client.info("persistence")
            return bool(await client.lastsave() >= since and not info["rdb_bgsave_in_progress"])

        await eventually(saved, "the snapshot to be written", 60.0)
        folder = Path((await client.config_get("dir"))["dir"])
    finally:
        await client.aclose()
    shutil.copy(folder / "dump.rdb", to / "dump.rdb")


def _copy_data(data: Path, to: Path) -> None:
    shutil.copytree(data, to, ignore=shutil.ignore_patterns("*.sock", "*.db", "*.db-*"))
    for path in data.rglob("*.db"):
        copy = to / path.relative_to(data)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)


async def restore_server(house: House, taken: Path) -> None:
    """What the recipe does: the snapshot is read by a server without AOF, which then writes one."""
    shutil.copytree(taken / "data", house.folder / "data", dirs_exist_ok=True)
    house.server.kill()
    folder = house.folder / "redis"
    for path in folder.glob("appendonly*"):
        if path.is_dir():
            shutil.rmtree(path)
    shutil.copy(taken / "dump.rdb", folder / "dump.rdb")
    port, process = _serve(folder)
    client = connect(f"redis://127.0.0.1:{port}/0", timeout_s=10.0)
    try:

        async def answers() -> bool:
            try:
                return bool((await client.info("server"))["process_id"] == process.pid)
            except RedisError:
                return False

        await eventually(answers, "the server to read the snapshot", 60.0)
        await client.config_set("appendonly", "yes")

        async def written() -> bool:
            info = await client.info("persistence")
            return not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]

        await eventually(written, "the append-only file to be written", 60.0)
    finally:
        await client.aclose()
        process.terminate()
        await asyncio.to_thread(process.wait, 60)
    house.start_server()


def _serve(folder: Path) -> tuple[int, subprocess.Popen[bytes]]:
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "no"]
    return port, subprocess.Popen([str(bundled_binary()), *options], stdout=subprocess.DEVNULL, cwd=folder)


async def run(house: House, *args: str) -> Any:
    """One command line of a house; its JSON."""
    return json.loads((await _run(house, *args)).stdout)


async def _run(house: House, *args: str) -> subprocess.CompletedProcess[bytes]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    command = [sys.executable, "-m", "leadstream_cli.main", *args, "--json"]
    done = await asyncio.to_thread(
        subprocess.run, command, env=kept | house.env, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done


async def figures(house: House) -> dict[str, int]:
    """Counters of the house."""
    async with httpx.AsyncClient(base_url=house.base, trust_env=False, timeout=DEADLINE_S) as client:
        found: dict[str, int] = (await client.get("/stats")).raise_for_status().json()
        return found


async def test_a_backup_taken_under_load_and_restored_elsewhere_sends_nothing_twice(tmp_path: Path) -> None:
    taken = tmp_path / "backup"
    with House(tmp_path / "first", LEADSTREAM_APPEND_DEADLINE=PATIENCE) as first:
        first.start()
        await first.add_subscribers(2)
        before = await first.post_leads(BEFORE)
        load = asyncio.create_task(first.post_leads(AFTER, first=BEFORE))
        await backup(first, taken)  # while mails are on their way
        after = await load
        await first.settled(after)  # the first house goes on, and sends what the backup holds as open
        log = tmp_path / "mail.log"
        log.write_text("\n".join(f"sent <{mail}@example.com>" for mail in first.inbox.copies()))
        with House(tmp_path / "second", LEADSTREAM_APPEND_DEADLINE=PATIENCE) as second:
            await restore_server(second, taken)
            second.subscribers = first.subscribers
            for name in ("api", "fanout", "projections"):
                second.processes[name].start()
            await _fanned_out(second)
            held = await run(second, "restore", "hold", "--yes")
            second.processes["mailer"].start()
            settled = await run(second, "restore", "settle", str(log), "--yes")
            assert settled == {"sent": held["held"], "requested": 0, "refused": 0}
            leads = await _leads(second)
            assert set(leads) <= {*before, *after} and set(before) <= set(leads)
            fresh = await second.post_leads(5, first=1_000)  # the house goes on
            await eventually(lambda: _arrived(second, second.due(fresh)), "new mails to arrive", 60.0)
            await eventually(second.nothing_pending, "nothing to be pending", 60.0)
            twice = second.inbox.copies().keys() & first.inbox.copies().keys()
            assert not twice, f"{len(twice)} mails were sent by both"
            stats = await figures(second)
            assert stats["sent"] == len(second.due([*leads, *fresh]))
            assert stats["leads"] == len(leads) + len(fresh)


async def test_mails_that_nobody_has_accepted_since_are_sent_once(tmp_path: Path) -> None:
    with House(tmp_path / "house", LEADSTREAM_APPEND_DEADLINE=PATIENCE) as house:
        for name in ("api", "fanout", "projections"):
            house.processes[name].start()
        await house.add_subscribers(1)
        leads = await house.post_leads(10)
        await _fanned_out(house)
        told = (await _run(house, "restore", "hold", "--dry-run")).stderr.decode()
        assert "open mails: 20\n" in told and "mailers" not in told, told
        assert await run(house, "restore", "hold", "--yes") == {"held": 20}
        assert await run(house, "restore", "hold", "--yes") == {"held": 0}
        accepted = sorted(house.due(leads))[:5]
        log = tmp_path / "mail.log"
        log.write_text("\n".join(f"Message-Id: <{mail.upper()}@example.com>" for mail in accepted))
        found = await run(house, "restore", "settle", str(log), "--yes")
        assert found == {"sent": 5, "requested": 15, "refused": 0}
        house.processes["mailer"].start()
        wanted = house.due(leads) - set(accepted)
        await eventually(lambda: _arrived(house, wanted), "the others to arrive", 60.0)
        await eventually(house.nothing_pending, "nothing to be pending", 60.0)
        assert house.inbox.copies() == dict.fromkeys(wanted, 1)
        assert (await figures(house))["sent"] == 20
        told = (await _run(house, "restore", "hold", "--dry-run")).stderr.decode()
        assert "within 15 s: 1; stop every mailer first\nopen mails: 0\n" in told, told


async def _fanned_out(house: House) -> None:
    client = connect(house.server.url, timeout_s=10.0)
    try:

        async def finished() -> bool:
            return not leads_in_the_spool(house.folder / "data") and await unread_by_fanout(client, 1) == 0

        await eventually(finished, "fan-out to finish", 60.0)
    finally:
        await client.aclose()


async def _leads(house: House) -> list[str]:
    client = connect(house.server.url, timeout_s=10.0)
    try:
        return [fields[b"subject"].decode() for _, fields in await client.xrange(keys.stream(0, keys.LEADS))]
    finally:
        await client.aclose()


async def _arrived(house: House, wanted: set[str]) -> bool:
    return await asyncio.to_thread(lambda: wanted <= house.inbox.copies().keys())
