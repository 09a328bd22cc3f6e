"""Erasure reaches the archive: what is stored there is sealed, and its key is gone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from leadstream_events import keys
from leadstream_events.redis_client import connect
from tests.integration.privacy.search import PERSON, found_in, in_files, in_redis
from tests.integration.projections.scan import GROUPS, all_finished
from tests.support.house import House
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

REFUSAL = {"phase": "rcpt", "code": 550, "text": "5.1.1 <quilla.zyx@personal-mail.example>: quilla.zyx is unknown"}


async def command(house: House, *args: str) -> tuple[int, bytes]:
    """One command line of the house: exit code and output."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    line = [sys.executable, "-m", "leadstream_cli.main", *args]
    done = await asyncio.to_thread(subprocess.run, line, env=kept | house.env, capture_output=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


async def test_nothing_is_left_of_an_archived_lead_with_a_dead_letter(tmp_path: Path) -> None:
    env = {"LEADSTREAM_ARCHIVE_URL": str(tmp_path / "archive"), "LEADSTREAM_RETAIN": "1s"}
    with House(tmp_path / "house", mailers=1, appendfsync="always", **env) as house:
        house.add("archiver", "archiver", ["archiver"])
        await asyncio.to_thread(
            house.inbox.post, "/script", {"faults": [REFUSAL | {"argument": "quilla", "times": None}]}
        )
        await asyncio.to_thread(house.start)
        await house.add_subscribers(1)
        client = connect(house.server.url, timeout_s=10.0)
        try:
            async with httpx.AsyncClient(base_url=house.base, trust_env=False, timeout=30.0) as api:
                others = await house.post_leads(5)
                lead = (await api.post("/leads", json=PERSON)).raise_for_status().json()["lead_id"]

                async def letter() -> bool:
                    return bool(await client.xlen(keys.stream(0, keys.DEAD)) == 1)

                await eventually(letter, "the refused mail to be a dead letter", 60.0)

                async def trimmed() -> bool:
                    return bool(await client.xlen(keys.stream(0, keys.OUTCOMES)) == 0)

                await eventually(trimmed, "the outcomes to be archived", 90.0)

                async def forgotten() -> bool:
                    ledgers = [keys.ledger(0, other) for other in others]
                    return not await client.exists(*ledgers)

                # The letter holds its own lead; of the others nothing goes any more once their ledgers went.
                await eventually(forgotten, "trimming to forget the other leads", 90.0)
                await eventually(lambda: all_finished(client, GROUPS), "every projection to finish")
                code, archived = await command(house, "archive", "export", "--pii")
                assert code == 0 and lead.encode() in archived and b"dead" in archived
                shown = (await api.get(f"/leads/{lead}")).json()
                assert shown["lead"]["email"] == PERSON["email"]
                assert await in_redis(client) == []  # sealed, even before

                assert (await api.delete(f"/leads/{lead}", params={"reason": "asked"})).status_code == 204
                shown = (await api.get(f"/leads/{lead}")).json()
                assert (shown["lead"], shown["erased"]) == (None, True)
                assert await in_redis(client) == []
                assert in_files(house.folder) == [] and in_files(tmp_path / "archive") == []
                code, archived = await command(house, "archive", "export", "--pii")
                assert code == 0 and lead.encode() in archived and found_in(archived) == []
                kept = (await api.get(f"/leads/{others[0]}")).json()
                assert kept["lead"]["full_name"].startswith("Visitor ")
            # Leads that trimming has forgotten are no drift, and a rebuild from the archive does not bring them back.
            await eventually(lambda: all_finished(client, GROUPS), "the erasure to be counted")
            counters = len([key async for key in client.scan_iter("leadstream:{0}:p:leads:*:*")])
            assert counters < len(others) + 1
            for line in ("verify", "rebuild leads", "verify"):
                code, told = await command(house, "projections", *line.split())
                assert code == 0, told.decode()
            assert len([key async for key in client.scan_iter("leadstream:{0}:p:leads:*:*")]) == counters
        finally:
            await client.aclose()
