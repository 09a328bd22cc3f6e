"""The fault server as a process of its own, steered over its control port as load runs do."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from leadstream_mail.smtp.outcome import Accepted, Refused
from leadstream_mail.smtp.pool import SmtpPool
from tests.integration.smtp.conftest import FROM, a_mail, yes

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def ports() -> AsyncIterator[dict[str, int]]:
    command = [sys.executable, "-m", "tests.support.smtp_server"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            found = json.loads(await process.stdout.readline())
        yield found
    finally:
        process.terminate()
        await process.wait()


async def test_a_server_in_another_process_counts_and_can_be_told_to_fail(ports: dict[str, int]) -> None:
    pool = SmtpPool(f"smtp://127.0.0.1:{ports['smtp']}", connections=2, timeout_s=5.0, data_timeout_s=5.0)
    fault = {"phase": "rcpt", "code": 550, "text": "5.1.1 no", "argument": "s2@", "times": None}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['control']}", timeout=60.0) as control:
        (await control.post("/script", json={"faults": [fault]})).raise_for_status()
        outcomes = await asyncio.gather(*(pool.send(FROM, a_mail(number), yes) for number in (1, 2, 3)))
        stats: dict[str, Any] = (
            (await control.get("/wait", params={"count": 2, "timeout": 30})).raise_for_status().json()
        )
        messages = (await control.get("/messages")).json()
        assert (await control.get("/wait", params={"count": 3, "timeout": 0.01})).status_code == 408
        await control.post("/reset")
        assert (await control.get("/stats")).json()["mails"] == 0
    await pool.close()
    assert [type(outcome) for outcome in outcomes] == [Accepted, Refused, Accepted]
    assert (stats["mails"], stats["distinct"], stats["duplicates"], stats["recipients"]) == (2, 2, 0, 2)
    assert sorted(message["to"][0] for message in messages) == ["s1@example.com", "s3@example.com"]
