"""Kills a service at each boundary of its work, several times in a run, and says what became of the mails."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import httpx

from leadstream_events import keys
from leadstream_events.ids import new_id
from tests.faults.rig import Recovery, Rig, Run
from tests.faults.table import Line
from tests.support.ports import free_port
from tests.support.waiting import eventually_sync


@dataclass(frozen=True)
class Boundary:
    """Where a service is killed. `stream` and `group` tell whose entries the recovery time is about."""

    service: str
    step: str
    title: str
    stream: str = keys.EMAILS
    group: str = keys.MAILER

    @property
    def name(self) -> str:
        """For test ids."""
        return f"{self.service}-{self.step}"


MAIL = (
    Boundary("mailer", "read", "mailer killed: mail read"),
    Boundary("mailer", "begin", "mailer killed: attempt begun"),
    Boundary("mailer", "connect", "mailer killed: connected"),
    Boundary("mailer", "rcpt", "mailer killed: RCPT accepted"),
    Boundary("mailer", "before_data", "mailer killed: before DATA"),
    Boundary("mailer", "after_data", "mailer killed: content sent, answer not read"),
    Boundary("mailer", "after_250", "mailer killed: 250 read, not stored"),
    Boundary("mailer", "after_commit", "mailer killed: outcome stored"),
)
# Only from here on can the outcome of an attempt be unknown, so only here the policies differ.
IN_DOUBT = MAIL[4:7]
_LEADS = (keys.LEADS, keys.FANOUT)
OTHERS = (
    Boundary("fanout", "read", "fan-out killed: lead read", *_LEADS),
    Boundary("fanout", "reserved", "fan-out killed: purchased lead reserved", *_LEADS),
    Boundary("fanout", "before_commit", "fan-out killed: before the commit", *_LEADS),
    Boundary("fanout", "after_commit", "fan-out killed: after the commit", *_LEADS),
    Boundary("fanout", "quota_settled", "fan-out killed: quota settled", keys.OUTCOMES, keys.QUOTA),
    Boundary(
        "projections",
        "before_commit",
        "projections killed: before the commit",
        keys.OUTCOMES,
        _TOTALS := "projections.totals",
    ),
    Boundary("projections", "after_commit", "projections killed: after the commit", keys.OUTCOMES, _TOTALS),
)
APPEND = Boundary("api", "appended", "API killed: lead appended, not answered", *_LEADS)
_HOUSE = ("fanout", "mailer")


def run_boundary(rig: Rig, at: Boundary, *, leads: int, after: int, policy: str = "resend", kills: int = 10) -> Line:
    """Runs one boundary: `after` passings per life, `kills` lives at the most; then judges.

    A lead in the spool passes no boundary: the API waits long for Redis.
    """
    if not rig.has_group(at.stream, at.group):
        rig.ensure(*_HOUSE, *({at.service} - {"api"}))
        eventually_sync(lambda: rig.has_group(at.stream, at.group), f"the group {at.group}")
    rig.stop_service(at.service)
    rig.limit_purchases(1_000_000 if at.step == "reserved" else None)  # without a limit nothing is reserved before
    rig.ensure(*(name for name in _HOUSE if name != at.service))
    counted = int(rig.client.hget(keys.projection(0, "totals", 1), "sent") or 0)
    env = {"FAULT_STEP": at.step, "FAULT_AFTER": str(after), "FAULT_KILLS": str(kills)}
    env |= {"LEADSTREAM_ON_UNKNOWN": policy, "LEADSTREAM_APPEND_DEADLINE": "30s"}
    port = str(free_port())
    armed = rig.make(at.service, at.service, LEADSTREAM_API_PORT=port, **env)
    if at.service == "api":
        armed.start()
        run = post(rig, port, leads)
    else:
        run = rig.append(leads)
        armed.start()
    recovery = Recovery(rig, armed, at.stream, at.group)

    def finished() -> bool:
        recovery.look()
        return rig.finished(run)

    eventually_sync(finished, f"the leads to be finished after {at.title}", 60 + leads / 10)
    verdict = rig.judge(run)
    done = armed.kills()
    rig.stop_service(at.service)
    sizes = (len(verdict.lost), len(verdict.doubled), len(verdict.marked), len(verdict.unmarked))
    wrong = exactness(rig, run, verdict.held, at, counted)
    return Line(at.title, policy, done, leads, *sizes, recovery.longest_s, wrong)


def exactness(rig: Rig, run: Run, held: frozenset[str], at: Boundary, counted: int) -> str:
    """What is not exact in the counters that this boundary could bend; nothing when all are.

    A mail that is held keeps its purchased lead set aside: a person decides whether it counts.
    """
    reserved: set[str] = set()
    for subscriber in rig.subscribers:
        found: Any = rig.client.smembers(keys.reserved(subscriber))
        reserved |= {mail.decode() for mail in found} & run.mails.keys()
    if reserved != held:
        return f"{len(reserved)} purchased leads reserved, {len(held)} mails held"
    if at.service == "projections":
        sent = int(rig.client.hget(keys.projection(0, "totals", 1), "sent") or 0) - counted
        if sent < len(run.mails):
            return f"{sent} counted of {len(run.mails)}"
    return ""


def post(rig: Rig, port: str, count: int) -> Run:
    """Posts leads over HTTP, each with its key until it is answered 202, while the API is killed again and again."""
    run = rig.begin()
    base = f"http://127.0.0.1:{port}"

    async def one(client: httpx.AsyncClient, key: str) -> str:
        lead = {"full_name": "Vera Visitor", "email": "visitor@example.com"}
        while True:
            try:
                answer = await client.post("/leads", json=lead, headers={"Idempotency-Key": key})
                if answer.status_code == 202:
                    return str(answer.json()["lead_id"])
                assert answer.status_code == 503, answer.text
            except httpx.TransportError:
                pass
            await asyncio.to_thread(wait_for_port, int(port))

    async def all_of_them() -> list[str]:
        gate = asyncio.Semaphore(8)
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=10.0) as client:

            async def gated() -> str:
                async with gate:
                    return await one(client, new_id())

            return list(await asyncio.gather(*(gated() for _ in range(count))))

    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(asyncio.run(all_of_them())), daemon=True)
    thread.start()
    thread.join(60 + count / 5)
    assert len(set(found)) == count, f"{len(set(found))} of {count} leads were accepted"
    return Run(found, {mail: lead for lead in found for mail in rig.due(lead)}, run.outcomes_after)


def wait_for_port(port: int) -> None:
    """Waits until somebody listens on the port."""
    from leadstream_cli.embedded_probe import port_taken

    eventually_sync(lambda: port_taken(port), f"somebody to listen on {port}")
