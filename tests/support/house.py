"""The whole house as real processes: server, inbox, API, fan-out, mailers and projections.

For acceptance and fault tests, and as a command for load runs (`python -m tests.acceptance.load`). Every process can
be killed and started again; `verify` compares what was promised with what the inbox really got.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from leadstream_archive.archive import Archive
from leadstream_archive.history import History
from leadstream_archive.stores import DiskStore
from leadstream_cli.embedded import EmbeddedServer
from leadstream_events import keys
from leadstream_events.groups import working_on
from leadstream_events.ids import WELCOME_RECIPIENT, email_id
from leadstream_events.redis_access import RedisAccess
from leadstream_events.redis_client import connect
from leadstream_events.schemas.events import Kind
from tests.support.ports import free_port
from tests.support.process import ServiceProcess
from tests.support.spool_facts import leads_in_the_spool
from tests.support.waiting import DEADLINE_S, eventually

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("api", "fanout", "mailer", "projections")


class Inbox:
    """The scripted SMTP server in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.smtp_server"], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        ports = json.loads(self._process.stdout.readline())
        self.url = f"smtp://127.0.0.1:{ports['smtp']}"
        self._control = f"http://127.0.0.1:{ports['control']}"

    def get(self, path: str, timeout_s: float = 30.0) -> Any:
        """GET on the control port."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self._control + path, timeout=timeout_s) as answer:
            return json.loads(answer.read())

    def post(self, path: str, body: Any = None) -> Any:
        """POST on the control port."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(self._control + path, json.dumps(body).encode(), method="POST")
        with opener.open(request, timeout=30.0) as answer:
            return json.loads(answer.read())

    def copies(self) -> Counter[str]:
        """How often each mail arrived, by the mail's id (the local part of its Message-ID)."""
        return Counter(mail["id"].strip("<>").partition("@")[0] for mail in self.get("/messages"))

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


@dataclass
class Report:
    """What a run came to. `unmarked`: mails that came more than once and do not say so in their timeline."""

    accepted: int
    lost: list[str]
    doubled: list[str]
    unmarked: list[str]
    strangers: list[str]
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"accepted={self.accepted} lost={len(self.lost)} doubled={len(self.doubled)} "
            f"unmarked={len(self.unmarked)} strangers={len(self.strangers)} counters={self.differences or 'exact'}"
        )


class House:
    """Starts and stops everything in one folder; `processes[name]` can be killed and restarted."""

    def __init__(
        self, folder: Path, *, mailers: int = 1, appendfsync: str = "always", retain: str | None = None, **env: str
    ) -> None:
        """`retain`: archive and trim what is older than this; without it, everything stays in the streams."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._appendfsync = folder, appendfsync
        self._redis_port, self.port = free_port(), free_port()
        self.server = self._start_server()
        self.inbox = Inbox()
        self.base = f"http://127.0.0.1:{self.port}"
        self._archive_folder = folder / "archive" if retain else None
        self.env = {
            "LEADSTREAM_REDIS_URL": self.server.url,
            "LEADSTREAM_SMTP_URL": self.inbox.url,
            "LEADSTREAM_RATE_LIMIT": "off",
            "LEADSTREAM_LEASE": "3s",
            "LEADSTREAM_DATA_DIR": str(folder / "data"),
            "LEADSTREAM_PUBLIC_URL": self.base,
            **({"LEADSTREAM_ARCHIVE_URL": str(self._archive_folder), "LEADSTREAM_RETAIN": retain} if retain else {}),
            **env,
        }
        self.processes: dict[str, ServiceProcess] = {}
        self.add("api", "api", ["api", "--port", str(self.port)], ready_url=self.base + "/health/live")
        self.add("fanout", "fanout", ["fanout"])
        for number in range(mailers):
            self.add(f"mailer{number or ''}", "mailer", ["mailer"])
        self.add("projections", "projections", ["projections"])
        if retain:
            self.add("archiver", "archiver", ["archiver"])
        self.subscribers: list[str] = []

    def add(self, name: str, service: str, args: Sequence[str], ready_url: str | None = None) -> None:
        """Adds a process to those that `start` starts."""
        self.processes[name] = ServiceProcess(
            args,
            env=self.env,
            output=self.folder / f"{name}.log",
            ready_url=ready_url,
            ready_line=None if ready_url else "ready",
            cwd=self.folder,
        )

    def start(self) -> Self:
        """Starts every service and waits until each is ready."""
        for process in self.processes.values():
            process.start()
        return self

    def stop(self) -> None:
        """Kills every process."""
        for process in self.processes.values():
            process.kill()
        self.inbox.stop()
        self.server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def access(self) -> RedisAccess:
        """How the tests reach the server."""
        return RedisAccess(self.server.url)

    def restart_server(self) -> None:
        """SIGKILL of the server, and a start on the same directory and address."""
        self.server.kill()
        self.start_server()

    def start_server(self) -> None:
        """Starts the server again, after it was stopped or killed, on the same directory and address."""
        self.server = self._start_server()

    def _start_server(self) -> EmbeddedServer:
        return EmbeddedServer.start(self.folder / "redis", appendfsync=self._appendfsync, port=self._redis_port)

    async def add_subscribers(self, count: int) -> None:
        """Adds active subscribers without limits."""
        async with httpx.AsyncClient(base_url=self.base, trust_env=False, timeout=DEADLINE_S) as client:
            for number in range(count):
                answer = await client.post(
                    "/subscribers", json={"email": f"s{number}@example.com", "name": f"Subscriber {number}"}
                )
                assert answer.status_code == 201, answer.text
                self.subscribers.append(answer.json()["id"])

    async def post_leads(
        self, count: int, *, concurrency: int = 16, first: int = 0, rate: float | None = None
    ) -> list[str]:
        """Posts leads, each until it is answered 202; returns their ids. `rate` is leads per second."""
        numbers = iter(range(first, first + count))
        accepted: list[str] = []
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with httpx.AsyncClient(base_url=self.base, trust_env=False, limits=limits, timeout=10.0) as client:

            async def work() -> None:
                for number in numbers:
                    accepted.append(await self._post(client, number))
                    if rate:
                        await asyncio.sleep(concurrency / rate)

            await asyncio.gather(*(work() for _ in range(concurrency)))
        return accepted

    async def _post(self, client: httpx.AsyncClient, number: int) -> str:
        lead = {"full_name": f"Visitor {number}", "email": f"v{number}@example.com", "state": "CA"}
        while True:
            try:
                answer = await client.post("/leads", json=lead, headers={"Idempotency-Key": f"lead-{number}"})
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 202:
                return str(answer.json()["lead_id"])
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.1)

    def due(self, leads: Sequence[str]) -> set[str]:
        """The ids of every mail that these leads call for."""
        welcome = {email_id(lead, Kind.WELCOME, WELCOME_RECIPIENT) for lead in leads}
        return welcome | {email_id(lead, Kind.NOTIFICATION, item) for lead in leads for item in self.subscribers}

    async def settled(self, leads: Sequence[str], within_s: float = 60.0) -> None:
        """Waits until every due mail has arrived and nothing is pending in any group."""
        due = self.due(leads)

        async def arrived() -> bool:
            return await asyncio.to_thread(lambda: due <= self.inbox.copies().keys())

        await eventually(arrived, f"{len(due)} mails to arrive", within_s)
        await eventually(self.nothing_pending, "nothing to be pending", within_s)

    async def nothing_pending(self) -> bool:
        """True when the API's spool is empty and every group of every stream has finished everything.

        A service makes its groups only after it said "ready": one that is not there yet has finished nothing. What was
        mailed while Redis was away is counted once it is merged.
        """
        if leads_in_the_spool(self.folder / "data"):
            return False
        client = connect(self.access, timeout_s=5.0)
        try:
            for name in keys.STREAMS:
                stream, missing = keys.stream(0, name), {*working_on(name)}
                if await client.exists(stream):
                    last = (await client.xinfo_stream(stream))["last-generated-id"]
                    for group in await client.xinfo_groups(stream):
                        if group["pending"] or group["last-delivered-id"] != last:
                            return False
                        missing.discard(group["name"].decode())
                if missing:
                    return False
            return True
        finally:
            await client.aclose()

    def wait_idle(self, within_s: float = 60.0) -> None:
        """Returns once `nothing_pending`. In a thread of its own: Playwright keeps a loop running in that of a test."""
        with ThreadPoolExecutor(1) as thread:
            waiting = eventually(self.nothing_pending, "nothing to be pending", within_s)
            thread.submit(asyncio.run, waiting).result()

    async def verify(self, leads: Sequence[str]) -> Report:
        """Compares inbox, counters and timelines with what the accepted leads call for."""
        due, copies = self.due(leads), self.inbox.copies()
        marked = await self._marked()
        doubled = sorted(mail for mail, count in copies.items() if count > 1)
        report = Report(
            accepted=len(leads),
            lost=sorted(due - copies.keys()),
            doubled=doubled,
            unmarked=[mail for mail in doubled if mail not in marked],
            strangers=sorted(copies.keys() - due),
        )
        await eventually(self.nothing_pending, "projections to catch up")
        report.differences = await self._differences(len(leads), len(copies))
        return report

    async def _marked(self) -> set[str]:
        archive = Archive(DiskStore(self._archive_folder), "the house's") if self._archive_folder else None
        client = connect(self.access, timeout_s=5.0)
        marked = set()
        try:
            async for page in History(client, archive).pages(0, keys.OUTCOMES):
                unknown = (fields for _, fields in page if fields[b"type"] == b"EmailOutcomeUnknown")
                marked |= {json.loads(fields[b"data"])["email_id"] for fields in unknown}
        finally:
            await client.aclose()
        return marked

    async def _differences(self, leads: int, distinct: int) -> list[str]:
        """Counters that differ from what the inbox counted."""
        async with httpx.AsyncClient(base_url=self.base, trust_env=False, timeout=DEADLINE_S) as client:
            totals = (await client.get("/stats")).json()
            subscribers = (await client.get("/subscribers")).json()
        counted = {"leads": totals["leads"], "sent": totals["sent"]}
        wanted = {"leads": leads, "sent": distinct}
        for item in subscribers["items"]:
            counted[item["id"]], wanted[item["id"]] = item["leads_sent"], leads
        return [f"{name}: {counted[name]} != {wanted[name]}" for name in wanted if counted[name] != wanted[name]]
