"""A whole house at work and in trouble, with people whose data is unmistakable: no log, metric or report names them."""

from __future__ import annotations

import asyncio
import json
import queue
import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from leadstream_events import keys
from tests.support import scraping
from tests.support.house import House
from tests.support.http_receiver import receiving
from tests.support.ports import free_port
from tests.support.spool_facts import known_to_the_fallback
from tests.support.waiting import DEADLINE_S, eventually

PERSON = {
    "full_name": "Wilhelmina Quixotowska",
    "email": "wilhelmina.quixotowska@zebrafishmail.example",
    "phone_number": "415-555-0142",
    "address": "742 Xylophone Terrace",
    "city": "Grasshopperville",
    "state": "CA",
    "zip_code": "94107-9987",
    "birth_date": "1971-03-17",
    "vehicles": [{"year": 1963, "make": "Studebaker", "model": "Gran Turismo Hawk", "vin": "1HGCM82633A004352"}],
    "consent": {"text": "yes, call Wilhelmina", "ip": "203.0.113.77"},
    "metadata": {"note": "prefers calls about her Studebaker"},
}
SUBSCRIBER = {"email": "desk.ottokar@pumpernickelmail.example", "name": "Ottokar Insurance"}
WORDS = (
    "wilhelmina", "quixotowska", "zebrafishmail", "555-0142", "5550142", "xylophone", "grasshopperville", "94107-9987",
    "1971-03-17", "studebaker", "turismo hawk", "1hgcm82633a004352", "203.0.113.77", "ottokar", "pumpernickel",
)  # fmt: skip
ECHO = (
    "no such user wilhelmina.quixotowska@zebrafishmail.example, Wilhelmina Quixotowska, 742 Xylophone Terrace, ottokar"
)


@pytest.fixture
def posted() -> Iterator[tuple[str, queue.Queue[str]]]:
    """Where errors are reported to, and what came."""
    with receiving() as (base, got):
        yield f"{base}/", got


def fault(phase: str, code: int, times: int | None = 1) -> dict[str, Any]:
    return {"phase": phase, "code": code, "text": f"5.1.1 {ECHO}" if code >= 500 else f"4.2.0 {ECHO}", "times": times}


async def post(house: House, **changes: object) -> int:
    async with httpx.AsyncClient(base_url=house.base, trust_env=False, timeout=30.0) as client:
        return (await client.post("/leads", json=PERSON | changes)).status_code


async def strangers(house: House) -> None:
    """Requests that are refused, with somebody's data in every place where a request has any."""
    name = PERSON["email"]
    async with httpx.AsyncClient(base_url=house.base, trust_env=False, timeout=30.0) as client:
        answers = [
            await client.post("/leads", json=PERSON | {"email": "wilhelmina at zebrafishmail"}),
            await client.post("/leads", json=PERSON | {"birth_date": "Wilhelmina's"}),
            await client.post("/leads", content=json.dumps(PERSON)[:-5]),
            await client.post("/leads/batch", content=json.dumps(PERSON)[:-5] + "\n"),
            await client.get(f"/leads/{name}"),
            await client.get(f"/{name}", params={"who": str(name)}),
            await client.get(f"/unsubscribe/{name}"),
            await client.post("/subscribers", json={"email": "ottokar at pumpernickel", "name": "Ottokar"}),
            await client.post("/webhooks/postmark", json={"Email": name}),
            await client.post(f"/dead-letters/{name}/redrive"),
        ]
    assert all(answer.status_code >= 400 for answer in answers[:3]), [answer.status_code for answer in answers]


def bad_entries(house: House) -> None:
    """Entries that no consumer can read, so that each group gives them up."""
    with redis.Redis.from_url(house.server.url, protocol=2) as client:
        for name in (keys.LEADS, keys.EMAILS, keys.OUTCOMES):
            fields = {"id": "x", "type": "LeadReceived", "v": "1", "time": "Wilhelmina", "subject": "ottokar"}
            client.xadd(keys.stream(0, name), {**fields, "data": json.dumps(PERSON)})


def forged_bounce(port: int) -> None:
    """A report about somebody that proves nothing, to the bounce receiver."""
    text = f"From: {SUBSCRIBER['email']}\r\nTo: bounce@example.com\r\nSubject: {ECHO}\r\n\r\n{json.dumps(PERSON)}\r\n"
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.sendmail(str(PERSON["email"]), ["bounce+forged@example.com"], text)


def found(texts: dict[str, str]) -> list[str]:
    return [f"{where}: {word}" for where, text in texts.items() for word in WORDS if word in text.lower()]


async def test_nobody_is_named_in_any_log_metric_or_report(
    tmp_path: Path, posted: tuple[str, queue.Queue[str]]
) -> None:
    url, reports = posted
    port = free_port()
    house = House(
        tmp_path / "house",
        LEADSTREAM_METRICS_LISTEN="127.0.0.1:0",
        LEADSTREAM_ERROR_WEBHOOK=url,
        LEADSTREAM_RETURN_PATH="bounce@example.com",
        LEADSTREAM_BOUNCES_LISTEN=f"127.0.0.1:{port}",
        LEADSTREAM_RETRY_DELAYS="200ms",
        LEADSTREAM_RETRIES="1",
        LEADSTREAM_LOG_FORMAT="json",
    )
    house.add("bounces", "bounces", ["bounces"])
    with house.start():
        async with httpx.AsyncClient(base_url=house.base, trust_env=False, timeout=DEADLINE_S) as client:
            assert (await client.post("/subscribers", json=SUBSCRIBER)).status_code == 201
        assert await post(house) == 202
        await eventually(lambda: arrived(house, 2), "both mails of the first lead")
        assert "quixotowska" in json.dumps(house.inbox.get("/messages")).lower(), "the search would find nothing"
        faults = [fault("rcpt", 451), fault("rcpt", 550), fault("body", 554), fault("body", 450), fault("mail", 550)]
        house.inbox.post("/script", {"faults": faults})
        for _ in range(3):
            assert await post(house) == 202
        bad_entries(house)
        await strangers(house)
        await asyncio.to_thread(forged_bounce, port)
        await eventually(house.nothing_pending, "the faults to be worked off")
        # What a process does after Redis has it, it may not have done yet.
        await eventually(lambda: said(house, "mailer", "mail given up"), "the mailer to say what it gave up")
        await eventually(lambda: said(house, "fanout", "entry given up"), "fan-out to say what it gave up")
        await eventually(lambda: can_mail(house), "the API to know whom to mail")
        house.server.kill()
        house.inbox.post("/script", {"faults": [fault("rcpt", 550, 2)]})
        assert await post(house) == 202
        await eventually(lambda: said(house, "api", "mail given up"), "the API itself to give mails up")
        texts = {f"metrics of {name} in the outage": text for name, text in scraping.scrapes(house).items()}
        house.start_server()
        await eventually(lambda: said(house, "api", "redis takes leads again"), "the API to find Redis")
        await eventually(house.nothing_pending, "the rest to be done")
        texts |= {f"metrics of {name}": text for name, text in scraping.scrapes(house).items()}
        other = free_port()
        house.env["LEADSTREAM_PARTITIONS"] = "2"
        house.add(
            "another api", "api", ["api", "--port", str(other)], ready_url=f"http://127.0.0.1:{other}/health/live"
        )
        house.processes["another api"].start()
        texts["reports"] = await asyncio.to_thread(reports.get, timeout=60)
        texts |= {f"log of {name}": process.text() for name, process in house.processes.items()}
    texts["more reports"] = "\n".join(reports.get_nowait() for _ in range(reports.qsize()))
    assert "mail given up" in texts["log of mailer"] and "entry given up" in texts["log of fanout"]
    assert scraping.value(texts["metrics of bounces"], "leadstream_reports_total", source="smtp") == 1.0
    assert "leads are refused" in texts["reports"]
    assert found(texts) == []


async def arrived(house: House, count: int) -> bool:
    return len(await asyncio.to_thread(house.inbox.get, "/messages")) >= count


async def can_mail(house: House) -> bool:
    return known_to_the_fallback(house.folder / "data")


async def said(house: House, name: str, words: str) -> bool:
    return words in house.processes[name].text()
