"""A server, an inbox and the services as processes, for faults: any of them may be killed, frozen or armed.

One rig serves many runs. Each run has leads of its own, waits until they are finished and compares what the inbox got
with what was called for; nothing is emptied in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import redis

from leadstream_cli.embedded import EmbeddedServer
from leadstream_events import keys
from leadstream_events.envelope import make_event
from leadstream_events.groups import working_on
from leadstream_events.ids import WELCOME_RECIPIENT, email_id, new_id
from leadstream_events.ledger import Row, State, parse_row
from leadstream_events.log import StreamLog, read_entry
from leadstream_events.redis_client import Client, connect
from leadstream_events.schemas.events import EmailDeferred, EmailOutcomeUnknown, Kind, LeadReceived
from leadstream_events.schemas.lead import Lead
from leadstream_events.schemas.subscriber import SubscriberDraft, SubscriberPatch
from leadstream_events.subscribers import SubscriberStore
from leadstream_events.writer import PipelinedWriter
from tests.faults.faulty_process import FaultyProcess
from tests.support.house import ROOT, Inbox
from tests.support.ports import free_port
from tests.support.waiting import eventually_sync

T = TypeVar("T")

FINAL = (State.SENT, State.FAILED, State.SKIPPED, State.HELD)
_SERVICE_READY = "ready"


@dataclass
class Run:
    """One set of leads: what they call for, and where the logs stood when they came."""

    leads: list[str]
    mails: dict[str, str]
    outcomes_after: str
    armed: FaultyProcess | None = None
    recoveries: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """What became of a run's mails; each set holds mail ids. `marked`: an EmailOutcomeUnknown says so."""

    lost: frozenset[str]
    doubled: frozenset[str]
    marked: frozenset[str]
    held: frozenset[str]
    deferred: int

    @property
    def unmarked(self) -> frozenset[str]:
        """Mails that came more than once and whose timeline does not say so."""
        return self.doubled - self.marked


def _listens_to_signals(process: FaultyProcess) -> bool:
    """False while it is just being started again: SIGTERM would then end it as the kernel does, before any handler."""
    text = process.text()
    up = max(text.rfind("ready"), text.rfind("waiting for redis"))
    return up > max(text.rfind("life "), text.rfind("killed "))


class Rig:
    """Starts the server and the inbox; services on demand. Use it in a `with` block."""

    def __init__(self, folder: Path, *, appendfsync: str = "everysec", subscribers: int = 1, **env: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._appendfsync, self._port = folder, appendfsync, free_port()
        self.server = self._start_server()
        self.inbox = Inbox()
        self.env = {
            "LEADSTREAM_REDIS_URL": self.server.url,
            "LEADSTREAM_SMTP_URL": self.inbox.url,
            "LEADSTREAM_RATE_LIMIT": "off",
            "LEADSTREAM_LEASE": "1s",
            "LEADSTREAM_RETRY_DELAYS": "200ms",
            "LEADSTREAM_WELCOME": "false",
            "LEADSTREAM_DATA_DIR": str(folder / "data"),
            "PYTHONPATH": str(ROOT),
            **env,
        }
        self.client = redis.Redis.from_url(self.server.url, protocol=2)
        self.processes: dict[str, FaultyProcess] = {}
        self.subscribers: list[str] = []
        for number in range(subscribers):
            self.add_subscriber(f"s{number}@example.com")

    # -- parts --------------------------------------------------------------------------------------------------

    def _start_server(self) -> EmbeddedServer:
        return EmbeddedServer.start(self.folder / "redis", appendfsync=self._appendfsync, port=self._port)

    def restart_server(self) -> None:
        """SIGKILL of the server and a start on the same directory and address."""
        self.server.kill()
        self.server = self._start_server()

    def make(self, name: str, service: str, **env: str) -> FaultyProcess:
        """A process that is not started yet; with FAULT_STEP it is armed."""
        armed = {"FAULT_KILLS": "0", **env} if "FAULT_STEP" not in env else env
        made = FaultyProcess(
            [service],
            env={**self.env, **armed},
            output=self.folder / f"{name}.log",
            ready_line=None if "FAULT_STEP" in env else _SERVICE_READY,
            module="tests.support.faulty",
        )
        self.processes[name] = made
        return made

    def ensure(self, *services: str, **env: str) -> None:
        """Starts the services (named after themselves) that do not run."""
        for service in services:
            found = self.processes.get(service)
            if found is None or not found.alive():
                self.make(service, service, **env).start()

    def stop_service(self, *names: str) -> None:
        """SIGTERM; the service must exit with 0."""
        for name in names:
            found = self.processes.pop(name, None)
            if found is not None and found.alive():
                eventually_sync(partial(_listens_to_signals, found), f"{name} to be up")
                code = found.terminate()
                assert code == 0, f"{name} ended with {code}:\n{found.text()[-2000:]}"

    def close(self) -> None:
        """Kills everything."""
        for process in self.processes.values():
            process.kill()
        self.client.close()
        self.inbox.stop()
        self.server.stop()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- leads --------------------------------------------------------------------------------------------------

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """Runs a coroutine on a fresh client of the house's own kind."""

        async def run() -> T:
            client = connect(self.server.url, timeout_s=10.0)
            try:
                return await question(client)
            finally:
                await client.aclose()

        return asyncio.run(run())

    def add_subscriber(self, address: str, **more: Any) -> str:
        """Adds an active subscriber."""
        draft = SubscriberDraft(email=address, name="Subscriber", **more)
        made = self.ask(lambda client: SubscriberStore(client).add(draft, datetime.now(UTC)))
        self.subscribers.append(made.id)
        return made.id

    def limit_purchases(self, leads: int | None) -> None:
        """Sets how many leads every subscriber has bought; None for no limit."""
        patch = SubscriberPatch(leads_purchased=leads)

        async def change(client: Client) -> None:
            for item in self.subscribers:
                await SubscriberStore(client).change(item, patch, datetime.now(UTC))

        self.ask(change)

    def due(self, lead: str) -> list[str]:
        """The ids of the mails that a lead calls for."""
        mails = [email_id(lead, Kind.NOTIFICATION, item) for item in self.subscribers]
        welcome = self.env["LEADSTREAM_WELCOME"] == "true"
        return [*mails, email_id(lead, Kind.WELCOME, WELCOME_RECIPIENT)] if welcome else mails

    def begin(self, leads: Sequence[str] = ()) -> Run:
        """A run of leads that are stored already, or are about to be."""
        newest: Any = self.client.xrevrange(keys.stream(0, keys.OUTCOMES), count=1)
        mails = {mail: lead for lead in leads for mail in self.due(lead)}
        return Run(list(leads), mails, newest[0][0].decode() if newest else "0-0")

    def append(self, count: int) -> Run:
        """Stores leads as the API does and returns their run."""
        leads = [new_id() for _ in range(count)]
        run = self.begin(leads)

        async def store(client: Client) -> None:
            async with PipelinedWriter(client) as writer:
                log = StreamLog(client, writer, partitions=1, deadline_s=10.0)
                await asyncio.gather(*(log.append_lead(_received(lead), "fingerprint") for lead in leads))

        self.ask(store)
        return run

    # -- looking ------------------------------------------------------------------------------------------------

    def rows(self, run: Run) -> dict[str, Row]:
        """The ledger rows of a run's mails, as far as there are any."""
        with self.client.pipeline(transaction=False) as pipe:
            for mail, lead in run.mails.items():
                pipe.hget(keys.ledger(0, lead), mail)
            found = pipe.execute()
        return {mail: parse_row(row.decode()) for mail, row in zip(run.mails, found, strict=True) if row}

    def pending(self, stream: str, group: str) -> dict[str, str]:
        """Entries of a group that are not finished, with their consumers."""
        page: Any = self.client.xpending_range(keys.stream(0, stream), group, "-", "+", 100_000)
        return {item["message_id"].decode(): item["consumer"].decode() for item in page}

    def _group(self, stream: str, group: str) -> dict[str, Any] | None:
        key = keys.stream(0, stream)
        groups: Any = self.client.xinfo_groups(key) if self.client.exists(key) else []
        return next((item for item in groups if item["name"] == group.encode()), None)

    def has_group(self, stream: str, group: str) -> bool:
        """True when the group is there."""
        return self._group(stream, group) is not None

    def _has_finished(self, stream: str, group: str) -> bool:
        found = self._group(stream, group)  # it comes after its service was ready: until then nothing is finished
        info: Any = self.client.xinfo_stream(keys.stream(0, stream)) if found else {}
        return bool(found and not found["pending"] and found["last-delivered-id"] == info["last-generated-id"])

    def quiet(self) -> bool:
        """True when every group of a running service has read and finished everything."""
        running = {process.args[0] for process in self.processes.values() if process.alive()}
        groups = [(name, group) for name in keys.STREAMS for group in working_on(name)]  # a lead's way through them
        return all(self._has_finished(*place) for place in groups if _service_of(place[1]) in running)

    def finished(self, run: Run) -> bool:
        """True when every mail of the run has its final state and every group is done."""
        for name, process in self.processes.items():
            assert process.returncode is None, f"{name} ended by itself:\n{process.text()[-2000:]}"
        if not self.quiet():
            return False
        rows = self.rows(run)
        return all(mail in rows and rows[mail].state in FINAL for mail in run.mails)

    def finish(self, run: Run, within_s: float = 60.0) -> Verdict:
        """Waits until the run is finished and judges it."""
        eventually_sync(lambda: self.finished(run), "every mail to be finished", within_s)
        return self.judge(run)

    def judge(self, run: Run) -> Verdict:
        """Compares the inbox and the timelines with what the run calls for."""
        copies = self.inbox.copies()
        entries: Any = self.client.xrange(keys.stream(0, keys.OUTCOMES), f"({run.outcomes_after}")
        events = [read_entry(keys.OUTCOMES, *entry).event for entry in entries]
        data = [event.data for event in events if event and event.subject in set(run.leads)]
        marked = frozenset(item.email_id for item in data if isinstance(item, EmailOutcomeUnknown))
        held = frozenset(mail for mail, row in self.rows(run).items() if row.state is State.HELD)
        return Verdict(
            lost=frozenset(mail for mail in run.mails if mail not in copies and mail not in held),
            doubled=frozenset(mail for mail in run.mails if copies[mail] > 1),
            marked=marked,
            held=held,
            deferred=sum(isinstance(item, EmailDeferred) for item in data),
        )


class Recovery:
    """Measures, per kill, how long it took until everything that was pending then was finished."""

    def __init__(self, rig: Rig, process: FaultyProcess, stream: str, group: str) -> None:
        self._rig, self._process, self._place = rig, process, (stream, group)
        self._kills = 0
        self._open: list[tuple[float, set[str]]] = []
        self.longest_s = 0.0

    def look(self) -> None:
        """To be called often: notices kills and what they had left behind."""
        kills = self._process.kills()
        if kills == self._kills and not self._open:
            return
        pending = self._rig.pending(*self._place)
        now = time.monotonic()
        if kills != self._kills:
            self._kills = kills
            self._open.append((now, set(pending)))
        for since, entries in self._open:
            if not entries & pending.keys():
                self.longest_s = max(self.longest_s, now - since)
        self._open = [item for item in self._open if item[1] & pending.keys()]


def _service_of(group: str) -> str:
    return "projections" if group.startswith(keys.PROJECTION_PREFIX) else "fanout" if group == keys.QUOTA else group


def _received(lead: str) -> Any:
    data = LeadReceived(lead=Lead(full_name="Vera Visitor", email=f"v{lead}@example.com", state="CA"))
    return make_event(data, subject=lead, now=datetime.now(UTC))
