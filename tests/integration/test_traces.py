"""One lead is one trace over real processes: API, fan-out, mailer and projections, and over an outage of Redis."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.cli.conftest import run_process
from tests.support.house import House
from tests.support.ports import free_port
from tests.support.spool_facts import known_to_the_fallback
from tests.support.waiting import eventually, eventually_sync

INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PERSON = {
    "full_name": "Dana Visitor",
    "email": "dana.visitor@example.com",
    "phone_number": "+12025550123",
    "state": "CA",
}
ENDS = ("outcome", "smtp_code", "attempt")
SERVICES = ("api", "fanout", "mailer", "projections")


class Spans:
    """The spans that processes left in one file."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text()
        self.all: list[dict[str, Any]] = [json.loads(line) for line in self.text.splitlines()]

    def of(self, service: str, name: str) -> list[dict[str, Any]]:
        """Those of one service with this name."""
        return [
            each
            for each in self.all
            if (each["resource"]["attributes"]["service.name"], each["name"]) == (f"leadstream-{service}", name)
        ]

    def ids(self, service: str, name: str) -> set[str]:
        """Their span ids."""
        return {each["context"]["span_id"] for each in self.of(service, name)}

    def parents(self, service: str, name: str) -> Counter[str]:
        """How many have which parent."""
        return Counter(each["parent_id"] for each in self.of(service, name))

    @property
    def traces(self) -> set[str]:
        """Every trace id."""
        return {each["context"]["trace_id"] for each in self.all}


def told(span: dict[str, Any], name: str) -> Any:
    return span["attributes"].get(f"leadstream.{name}")


@contextmanager
def house_of(folder: Path, exporter: str, **env: str) -> Iterator[House]:
    with House(folder / "house", mailers=1, appendfsync="no", LEADSTREAM_OTEL_EXPORTER=exporter, **env) as house:
        yield house.start()


async def post(house: House) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=house.base, trust_env=False, timeout=30.0) as client:
        answer = await client.post("/leads", json=PERSON, headers={"traceparent": INCOMING})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def get(house: House, path: str) -> Any:
    async with httpx.AsyncClient(base_url=house.base, trust_env=False, timeout=30.0) as client:
        return (await client.get(path)).json()


def end(house: House) -> None:
    """SIGTERM: what is left of the spans is exported."""
    assert {name: process.terminate() for name, process in house.processes.items()} == dict.fromkeys(SERVICES, 0)


async def test_one_lead_is_one_trace_over_the_four_services(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    with house_of(tmp_path, f"file:{path}", LEADSTREAM_RETRY_DELAYS="200ms") as house:
        await house.add_subscribers(2)
        full = {
            "phase": "rcpt",
            "code": 452,
            "text": "4.2.2 s1@example.com is over quota",
            "argument": "s1@",
            "times": 1,
        }
        await asyncio.to_thread(house.inbox.post, "/script", {"faults": [full]})
        lead = (await post(house))["lead_id"]
        await house.settled([lead])
        shown = (await get(house, f"/leads/{lead}"))["trace"]
        story = await asyncio.to_thread(run_process, "trace", lead, cwd=tmp_path, env=house.env)
        assert f"trace {INCOMING[3:35]}\n" in story.out
        await asyncio.to_thread(end, house)
    spans = Spans(path)
    assert spans.traces == {"0x" + INCOMING[3:35]}
    (accept,), (fanout,) = spans.of("api", "lead accept"), spans.of("fanout", "fanout")
    accepted, fanned = accept["context"]["span_id"], fanout["context"]["span_id"]
    assert (accept["parent_id"], fanout["parent_id"]) == ("0x" + INCOMING[36:52], accepted)
    assert shown.split("-")[2] == accepted[2:]
    attempts = spans.ids("mailer", "mail attempt")
    assert spans.parents("mailer", "mail attempt") == {fanned: 4} and len(attempts) == 4
    ends = [tuple(told(each, name) for name in ENDS) for each in spans.of("mailer", "mail attempt")]
    assert Counter(ends) == {("accepted", 250, 1): 2, ("deferred", 452, 1): 1, ("accepted", 250, 2): 1}
    # Four projections, of which one does not read leads.
    assert spans.parents("projections", "project") == {accepted: 3, fanned: 4} | dict.fromkeys(attempts, 4)
    assert spans.parents("fanout", "quota") == dict.fromkeys(attempts, 1)
    assert {told(each, "lead_id") for each in spans.all} == {lead}
    for personal in ("Dana", "dana", "Visitor", "5550123", "example.com", "Subscriber", "over"):
        assert personal not in spans.text


async def test_a_lead_taken_and_mailed_without_redis_keeps_its_trace_through_spool_and_merge(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    with house_of(tmp_path, f"file:{path}") as house:
        await house.add_subscribers(1)
        known = functools.partial(known_to_the_fallback, house.folder / "data", house.subscribers)
        await asyncio.to_thread(eventually_sync, known, "the API to know whom to mail")
        house.server.kill()
        answer = await post(house)
        assert answer["mode"] == "fallback"
        lead = answer["lead_id"]
        due = house.due([lead])
        await asyncio.to_thread(eventually_sync, lambda: due <= house.inbox.copies().keys(), "the API to mail")
        house.start_server()

        async def counted() -> bool:
            return bool((await get(house, "/stats")).get("sent") == len(due))

        await eventually(counted, "the lead to be merged and counted")
        await eventually(house.nothing_pending, "nothing to be pending")
        view = await get(house, f"/leads/{lead}")
        await asyncio.to_thread(end, house)
    spans = Spans(path)
    assert spans.traces == {"0x" + INCOMING[3:35]}
    (accept,) = spans.of("api", "lead accept")
    accepted = accept["context"]["span_id"]
    assert told(accept, "durability") == "spooled"
    attempts = spans.of("api", "mail attempt")
    assert {(each["parent_id"], told(each, "mode"), told(each, "outcome")) for each in attempts} == {
        (accepted, "fallback", "accepted")
    }
    assert view["trace"].split("-")[1:3] == [INCOMING[3:35], accepted[2:]]
    assert spans.parents("fanout", "fanout") == {accepted: 1}
    parents = spans.parents("projections", "project")
    assert len(attempts) == 2 and all(parents[each["context"]["span_id"]] == 4 for each in attempts)


@pytest.mark.parametrize("answers", [False, True], ids=["closed", "black hole"])
async def test_mails_go_out_and_services_end_while_the_collector_is_dead(answers: bool, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:  # takes connections and never answers
        port = hole.getsockname()[1] if answers else free_port()
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
            "OTEL_BSP_MAX_QUEUE_SIZE": "8",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
        }
        with house_of(tmp_path, "otlp", **env) as house:
            await house.add_subscribers(2)
            leads = await house.post_leads(20)
            await house.settled(leads)
            report = await house.verify(leads)
            await asyncio.to_thread(end, house)  # in far less than the ten minutes of an export
    assert (report.lost, report.doubled, report.differences) == ([], [], [])
