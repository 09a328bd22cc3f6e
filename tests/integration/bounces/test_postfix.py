"""A real mail server bounces our mails: they come back to the receiver, find their mail, and suppress the address."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.house import House
from tests.support.ports import free_port
from tests.support.postfix import LOCAL, MAILBOX, Postfix, require_postfix
from tests.support.process import ServiceProcess
from tests.support.waiting import DEADLINE_S, eventually

BOUNCES, REJECTS = "bounces.example.com", "rejects.example.com"
WITHIN_S = 90.0
pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Town:
    """The house, a Postfix that it sends through, and the bounce receiver behind that."""

    house: House
    postfix: Postfix
    receiver: ServiceProcess

    async def get(self, path: str) -> Any:
        """GET on the API."""
        async with httpx.AsyncClient(base_url=self.house.base, trust_env=False, timeout=DEADLINE_S) as client:
            return (await client.get(path)).raise_for_status().json()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST on the API."""
        async with httpx.AsyncClient(base_url=self.house.base, trust_env=False, timeout=DEADLINE_S) as client:
            return (await client.post(path, json=body)).raise_for_status().json()

    async def suppressions(self) -> dict[str, str]:
        """Suppressed addresses and why."""
        return {item["address"]: item["reason"] for item in (await self.get("/suppressions"))["items"]}


BY_SMTP, BY_LMTP = "smtp:[127.0.0.1]:{port}", "lmtp:inet:127.0.0.1:{port}"


@pytest.fixture
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    require_postfix()
    port, route = free_port(), getattr(request, "param", BY_SMTP)
    with ExitStack() as stack:
        postfix = Postfix()
        house = stack.enter_context(
            House(
                tmp_path,
                LEADSTREAM_SMTP_URL=postfix.url,
                LEADSTREAM_MAIL_FROM="leads@example.com",
                LEADSTREAM_RETURN_PATH=f"bounce@{BOUNCES}",
                LEADSTREAM_BOUNCES_LISTEN=f"{route.partition(':')[0]}:127.0.0.1:{port}",
            )
        )
        postfix.routes[BOUNCES] = route.format(port=port)
        postfix.routes[REJECTS] = f"smtp:[127.0.0.1]:{urlsplit(house.inbox.url).port}"
        stack.enter_context(postfix)
        receiver = ServiceProcess(["bounces"], env=house.env, output=tmp_path / "bounces.log", ready_line="ready")
        stack.callback(receiver.kill)
        house.start()
        yield Town(house, postfix, receiver.start(60.0))


@pytest.mark.parametrize("town", [BY_SMTP, BY_LMTP], indirect=True, ids=["smtp", "lmtp"])
async def test_what_postfix_bounces_is_matched_and_suppresses_and_the_timeline_tells(town: Town) -> None:
    refusal = {"phase": "rcpt", "code": 550, "text": "5.1.1 gone", "argument": REJECTS, "times": None}
    await asyncio.to_thread(town.house.inbox.post, "/script", {"faults": [refusal]})
    wanted = {f"nobody@{LOCAL}": "unknown to Postfix", f"gone@{REJECTS}": "refused by the next hop"}
    ids = {}
    for address in (*wanted, f"well@{MAILBOX}"):
        ids[address] = (await town.post("/subscribers", {"email": address, "name": address[:4]}))["id"]
    lead = {"full_name": "Ada Example", "email": f"ada@{MAILBOX}", "state": "CA"}
    lead_id = (await town.post("/leads", lead))["lead_id"]

    async def both_suppressed() -> bool:
        return set(await town.suppressions()) == set(wanted)

    await eventually(both_suppressed, "both addresses to be suppressed", WITHIN_S)
    assert set((await town.suppressions()).values()) == {"hard bounce 5.1.1"}

    async def told() -> bool:
        mails = (await town.get(f"/leads/{lead_id}"))["mails"]
        return [event["event"] for mail in mails for event in mail["timeline"]].count("EmailBounced") == 2

    await eventually(told, "the timeline to tell of both bounces", WITHIN_S)
    await eventually(town.house.nothing_pending, "every mail to be sent and counted", WITHIN_S)
    for mail in (await town.get(f"/leads/{lead_id}"))["mails"]:
        events = Counter(event["event"] for event in mail["timeline"])
        bounced = mail["subscriber_id"] in {ids[address] for address in wanted}
        # In no order: Postfix may bounce a mail before the mailer has noted that Postfix took it.
        assert (events["EmailSent"], events["EmailBounced"]) == (1, int(bounced))
    assert (await town.get("/stats"))["bounced"] == 2
    assert not re.search("nobody@|gone@|ada@", town.receiver.text())

    command = [sys.executable, "-m", "leadstream_cli.main", "trace", lead_id]
    env = {**os.environ, **town.house.env}
    story = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, check=True)
    assert story.stdout.count("EmailBounced") == 2


async def test_a_mail_that_arrives_names_its_own_return_path(town: Town) -> None:
    await town.post("/leads", {"full_name": "Ada Example", "email": f"ada@{MAILBOX}", "state": "CA"})
    deliver: Callable[[], list[bytes]] = town.postfix.delivered

    async def arrived() -> bool:
        return bool(await asyncio.to_thread(deliver))

    await eventually(arrived, "the mail to arrive", WITHIN_S)
    (mail,) = await asyncio.to_thread(deliver)
    assert re.match(rb"Return-Path: <bounce\+[a-z2-7]{48}@" + BOUNCES.encode() + rb">\n", mail)


async def test_a_receiver_that_is_killed_loses_nothing_and_counts_nothing_twice(town: Town) -> None:
    """Postfix keeps what was not answered, and sends it again to the next process."""
    await town.post("/subscribers", {"email": f"nobody@{LOCAL}", "name": "N"})
    town.receiver.kill()
    lead = await town.post("/leads", {"full_name": "Ada Example", "email": f"ada@{MAILBOX}", "state": "CA"})

    async def refused() -> bool:
        return "status=deferred" in town.postfix.log()

    await eventually(refused, "Postfix to find nobody there", WITHIN_S)
    assert await town.suppressions() == {}
    await asyncio.to_thread(town.receiver.start, 60.0)

    async def suppressed() -> bool:
        return bool(await town.suppressions())

    await eventually(suppressed, "the bounce to come again", WITHIN_S)

    async def counted() -> bool:
        return bool((await town.get("/stats"))["bounced"] == 1)

    await eventually(counted, "the bounce to be counted", WITHIN_S)
    assert json.dumps(await town.get(f"/leads/{lead['lead_id']}")).count('"EmailBounced"') == 1
