"""The main job on real parts: subscribers in, leads over HTTP, mails in an inbox, and the proof that all of it fits.

Runs in a directory of its own, on free ports, with no setting of the caller's environment but those asked for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from leadstream_cli.connection import PREFIX, redis_client
from leadstream_cli.example_rules import expect, read_lines, read_plain_subscribers
from leadstream_cli.http_client import ApiClient
from leadstream_cli.inbox import Inbox
from leadstream_cli.queries import read_streams
from leadstream_cli.system import Plan, System, running
from leadstream_cli.verification import NOTIFICATION, WELCOME, Arrival, Counters, Expected, check
from leadstream_events import keys
from leadstream_events.errors import LeadstreamError
from leadstream_events.ids import WELCOME_RECIPIENT, email_id

if TYPE_CHECKING:
    from leadstream_events.redis_client import Client

_LOOK_EVERY_S = 0.05
# The order in which work flows: once a stage is drained and those before it were, nothing new can reach it.
_STAGES: tuple[Callable[[str], bool], ...] = (
    lambda group: group == keys.FANOUT,
    lambda group: group == keys.MAILER,
    lambda group: group == keys.QUOTA or group.startswith(keys.PROJECTION_PREFIX),
)


@dataclass(frozen=True, slots=True)
class Job:
    """What the demo is to do. `timeout_s` bounds the wait for the mails."""

    leads: Path
    subscribers: Path
    directory: Path
    rate_limit: str = "off"
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Posted:
    """A lead that was submitted and its answer; `at_s` is on the loop's clock, before the request."""

    line: bytes
    at_s: float
    status: int
    lead_id: str
    problem: str


@dataclass(slots=True)
class Report:
    """Everything that a demo found out."""

    posted: list[Posted] = field(default_factory=list)
    expected: Expected | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    counters: Counters | None = None
    latencies_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Steps(Protocol):
    """Hears what happens; the command prints it."""

    def ready(self, system: System, seconds: float) -> None:
        """Everything runs."""

    def imported(self, count: int) -> None:
        """Subscribers are in."""

    def posted(self, number: int, lead: Posted) -> None:
        """One lead was answered."""

    def waiting(self, mails: int) -> None:
        """All leads are in; so many mails are due."""


_EXPORTER = PREFIX + "OTEL_EXPORTER"


def clean_environment(directory: Path, rate_limit: str) -> dict[str, str]:
    """Our environment without any setting of leadstream's, and with those of the demo."""
    env = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    env[PREFIX + "CONFIG"] = str(directory / "none.toml")
    env[PREFIX + "RATE_LIMIT"] = rate_limit
    if _EXPORTER in os.environ:  # spans say what happened, and change nothing
        env[_EXPORTER] = os.environ[_EXPORTER]
    return env


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank); 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)] if ordered else 0.0


def arrivals_in(inbox: Inbox) -> list[Arrival]:
    """The inbox as the check sees it: one arrival per recipient. The Message-ID tells the welcome mail."""
    out = []
    for mail in inbox.mails:
        local = mail.message_id.strip("<>").partition("@")[0]
        kind = WELCOME if local == email_id(mail.lead_id, WELCOME, WELCOME_RECIPIENT) else NOTIFICATION
        out += [Arrival(kind, mail.lead_id, to.lower(), mail.message_id) for to in mail.recipients]
    return out


async def run_demo(job: Job, steps: Steps, say: Callable[[str], None]) -> Report:
    """Does the whole job; the report's `problems` are empty when everything fits."""
    subscribers, lines = read_plain_subscribers(job.subscribers), read_lines(job.leads)
    env = clean_environment(job.directory, job.rate_limit)
    plan = Plan(
        job.directory,
        None,
        None,
        partitions=1,
        appendfsync="always",
        log_dir=job.directory,
        stop_within_s=10.0,
        env=env,
    )
    report = Report()
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    async with running(plan, say) as system:
        inbox = system.inbox
        if inbox is None:
            raise LeadstreamError("the demo runs with its own inbox only")
        steps.ready(system, loop.time() - started_s)
        addresses = await _import(system.redis_url, job.subscribers)
        steps.imported(len(addresses))
        await _post(system.api_url, lines, report, steps)
        accepted = [(lead.lead_id, lead.line) for lead in report.posted if lead.lead_id]
        report.expected = expect(subscribers, accepted)
        steps.waiting(report.expected.mails)
        late = await _wait_until_drained(system.redis_url, system.api_url, job.timeout_s)
        report.counters = await asyncio.to_thread(_read_counters, system.api_url, addresses)
        _conclude(report, inbox, late)
    return report


async def _import(redis_url: str, path: Path) -> dict[str, str]:
    """Imports the file as `subscribers import` does; returns subscriber id to address."""
    from leadstream_cli.commands.subscribers import import_file
    from leadstream_events.subscribers import SubscriberStore

    async with redis_client(redis_url) as client:
        bad = await import_file(client, path, lambda *_: None)
        if bad:
            raise LeadstreamError(f"{path}: {bad} lines cannot be taken: leadstream subscribers import tells which")
        return {each.id: each.email.lower() for each in await SubscriberStore(client).all()}


async def _post(url: str, lines: Sequence[bytes], report: Report, steps: Steps) -> None:
    loop = asyncio.get_running_loop()
    with ApiClient(url) as api:
        for number, line in enumerate(lines, 1):
            at_s = loop.time()
            answer = await asyncio.to_thread(api.submit, line)
            lead_id = str(answer.body["lead_id"]) if answer.status == 202 else ""
            posted = Posted(line, at_s, answer.status, lead_id, "" if lead_id else answer.problem)
            report.posted.append(posted)
            steps.posted(number, posted)


async def _wait_until_drained(redis_url: str, api_url: str, timeout_s: float) -> str:
    """Returns once the API's spool is empty and every stage has finished; after the time-out, says what has not."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    async with redis_client(redis_url) as client:
        while busy := await asyncio.to_thread(_busy_spool, api_url) or await busy_stage(client):
            if loop.time() > deadline:
                return f"not finished after {timeout_s:g} s: {busy}"
            await asyncio.sleep(_LOOK_EVERY_S)
    return ""


def _busy_spool(url: str) -> str:
    """Leads that Redis did not take in time, on a machine under load; they are merged and then go the way of all."""
    with ApiClient(url) as api:
        answer = api.request("GET", "/health/ready")
    if answer.status != 200:
        return f"GET /health/ready: {answer.problem}"
    leads = answer.body["checks"]["spool"]["leads"]
    return f"{leads} leads wait in the API's spool" if leads else ""


async def busy_stage(client: Client, partitions: int = 1) -> str:
    """The first group in the order of the work that has not finished; empty when there is none."""
    for stage in _STAGES:
        for stream in await read_streams(client, partitions):
            for group in stream.groups:
                if stage(group.group) and (group.lag or group.pending):
                    return f"group {group.group} has {group.lag} to read and {group.pending} pending"
    return ""


def _read_counters(url: str, addresses: Mapping[str, str]) -> Counters:
    """The counters as users see them, over HTTP."""
    with ApiClient(url) as api:
        totals = _answer(api, "/stats")
        rows = _answer(api, "/stats/subscribers")["items"]
    named = {name: value for name, value in totals.items() if isinstance(value, int)}
    sent = {addresses.get(row["subscriber_id"], row["subscriber_id"]): row for row in rows}
    return Counters(
        {**named, **totals["counters"]},
        {address: int(row["sent"]) for address, row in sent.items()},
        {address: int(row["leads_sent"]) for address, row in sent.items()},
    )


def _answer(api: ApiClient, path: str) -> Any:
    answer = api.request("GET", path)
    if not answer.ok:
        raise LeadstreamError(f"GET {path}: {answer.problem}")
    return answer.body


def _conclude(report: Report, inbox: Inbox, late: str) -> None:
    """Fills in the verdict."""
    assert report.expected is not None and report.counters is not None  # noqa: S101  filled by now
    posted = {lead.lead_id: lead.at_s for lead in report.posted if lead.lead_id}
    report.arrivals = arrivals_in(inbox)
    report.latencies_s = [mail.arrived_s - posted[mail.lead_id] for mail in inbox.mails if mail.lead_id in posted]
    refused = [f"lead {n}: {lead.problem}" for n, lead in enumerate(report.posted, 1) if not lead.lead_id]
    stuck = [late] if late else []
    report.problems = [*refused, *stuck, *check(report.expected, report.arrivals, report.counters)]
