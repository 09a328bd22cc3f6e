"""Faults that are no SIGKILL at a boundary: of the SMTP server, of Redis, of whole workers, and frozen processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis

from leadstream_events.ledger import State
from tests.faults.faulty_process import FaultyProcess
from tests.faults.rig import Rig, Run, Verdict
from tests.faults.table import Line
from tests.support.waiting import eventually_sync

# Breaks the dialogue here: (phase, may the mail have been taken).
PHASES = ("connect", "ehlo", "mail", "rcpt", "data", "body")


def _line(title: str, policy: str, times: int, run: Run, verdict: Verdict, recovery_s: float) -> Line:
    sizes = (len(verdict.lost), len(verdict.doubled), len(verdict.marked), len(verdict.unmarked))
    return Line(title, policy, times, len(run.leads), *sizes, recovery_s)


def _scripted(rig: Rig, title: str, policy: str, leads: int, fault: dict[str, Any], times: int, **env: str) -> Line:
    """Sends leads through an inbox with a fault and waits until all are finished."""
    rig.stop_service("mailer")
    rig.ensure("fanout")
    rig.inbox.post("/script", {"faults": [fault]})
    try:
        run = rig.append(leads)
        began = time.monotonic()
        rig.make("mailer", "mailer", LEADSTREAM_ON_UNKNOWN=policy, LEADSTREAM_RETRIES="8", **env).start()
        verdict = rig.finish(run, 60 + leads / 10)
        return _line(title, policy, times, run, verdict, time.monotonic() - began)
    finally:
        rig.inbox.post("/script", {"faults": []})
        rig.stop_service("mailer")


def answer_lost(rig: Rig, leads: int, policy: str) -> Line:
    """The server stores the mail and closes instead of answering 250."""
    times = min(100, max(1, leads // 10))
    fault = {"phase": "body", "drop": True, "store": True, "times": times}
    return _scripted(rig, "server took the mail, its 250 was lost", policy, leads, fault, times)


def cut(phase: str) -> Callable[[Rig, int, str], Line]:
    """The connection is cut instead of a reply, at one phase of the dialogue."""

    def incident(rig: Rig, leads: int, policy: str) -> Line:
        times = 3 if phase in ("connect", "ehlo", "mail") else min(100, max(1, leads // 10))
        return _scripted(
            rig, f"connection cut at {phase}", policy, leads, {"phase": phase, "drop": True, "times": times}, times
        )

    return incident


def greylisted(rig: Rig, leads: int, policy: str) -> Line:
    """Every recipient is refused with 450 at first."""
    fault = {"phase": "rcpt", "code": 450, "text": "4.2.0 greylisted, try later", "times": leads}
    return _scripted(rig, "greylisted once", policy, leads, fault, leads)


def slow_data(rig: Rig, leads: int, policy: str, lease_s: float = 1.0) -> Line:
    """The answer to the final dot takes three leases, while another worker looks for orphans."""
    lease = {"LEADSTREAM_LEASE": f"{lease_s:g}s"}
    rig.make("other", "mailer", LEADSTREAM_ON_UNKNOWN=policy, **lease).start()
    try:
        fault = {"phase": "body", "code": 250, "text": "2.0.0 queued at last", "delay_s": 3 * lease_s, "times": 8}
        return _scripted(rig, "answer to DATA takes three leases", policy, leads, fault, 8, **lease)
    finally:
        rig.stop_service("other")


def killed_in_flight(rig: Rig, leads: int, policy: str) -> Line:
    """A worker dies with fifty mails in flight; two others finish them. Recovery counts from the SIGKILL."""
    rig.stop_service("mailer")
    rig.ensure("fanout")
    # More such replies than connections: the worker must be stuck with all of them when it dies.
    rig.inbox.post("/script", {"faults": [{"phase": "rcpt", "code": 250, "delay_s": 600.0, "times": 50}]})
    victim = rig.make("victim", "mailer", LEADSTREAM_ON_UNKNOWN=policy, LEADSTREAM_SMTP_CONNECTIONS="50")
    victim.start()
    before = rig.inbox.get("/stats")["connections"]
    run = rig.append(50)
    eventually_sync(lambda: rig.inbox.get("/stats")["connections"] >= before + 50, "fifty connections")
    eventually_sync(
        lambda: sum(row.state is State.SENDING for row in rig.rows(run).values()) == 50, "fifty begun mails"
    )
    others = [rig.make(f"other{number}", "mailer", LEADSTREAM_ON_UNKNOWN=policy).start() for number in range(2)]
    rig.inbox.post("/script", {"faults": []})
    victim.kill()
    del rig.processes["victim"]
    began = time.monotonic()
    verdict = rig.finish(run)
    took_s = time.monotonic() - began
    rig.stop_service(*(f"other{number}" for number in range(len(others))))
    return _line("mailer killed with 50 mails in flight", policy, 1, run, verdict, took_s)


def during(title: str, blow: Callable[[Rig], None], times: int) -> Callable[[Rig, int, str], Line]:
    """`blow` strikes several times while leads are being sent."""

    def incident(rig: Rig, leads: int, policy: str) -> Line:
        rig.stop_service("mailer")
        rig.ensure("fanout")
        run = rig.append(leads)
        rig.make("mailer", "mailer", LEADSTREAM_ON_UNKNOWN=policy).start()
        longest_s = 0.0
        for number in range(times):
            sent = (number * len(run.mails)) // times
            eventually_sync(lambda sent=sent: _sent(rig, run) >= sent, f"{sent} mails to be sent", 60.0)  # type: ignore[misc]
            began = time.monotonic()
            blow(rig)
            had = eventually_sync(lambda: _sent(rig, run) + 1, "redis to answer") - 1
            eventually_sync(
                lambda had=had: _sent(rig, run) > had or had == len(run.mails),  # type: ignore[misc]
                "mails to go out again",
                60.0,
            )
            longest_s = max(longest_s, time.monotonic() - began)
        verdict = rig.finish(run, 60 + leads / 10)
        rig.stop_service("mailer")
        return _line(title, policy, times, run, verdict, longest_s)

    return incident


def _sent(rig: Rig, run: Run) -> int:
    try:
        return sum(row.state is State.SENT for row in rig.rows(run).values())
    except redis.RedisError:  # it was struck just now
        return -1


def redis_killed(rig: Rig) -> None:
    """SIGKILL of the server and a start on the same directory."""
    rig.restart_server()


def scripts_flushed(rig: Rig) -> None:
    """SCRIPT FLUSH."""
    rig.client.script_flush()


def frozen(step: str) -> Callable[[Rig, int, str], Line]:
    """A worker is stopped by SIGSTOP in the middle of a mail for longer than its lease and wakes up later."""

    def incident(rig: Rig, leads: int, policy: str) -> Line:
        rig.stop_service("mailer")
        rig.ensure("fanout")
        sleeper = rig.make(
            "sleeper",
            "mailer",
            LEADSTREAM_ON_UNKNOWN=policy,
            FAULT_STEP=step,
            FAULT_AFTER=str(max(1, leads // 2)),
            FAULT_SIGNAL="STOP",
        )
        run = rig.append(leads)
        sleeper.start()
        eventually_sync(sleeper.frozen, "the worker to freeze", 30.0)
        began = time.monotonic()
        rig.make("mailer", "mailer", LEADSTREAM_ON_UNKNOWN=policy).start()
        rig.finish(run)
        took_s = time.monotonic() - began
        os.kill(sleeper.child(), signal.SIGCONT)
        rig.stop_service("sleeper")  # it finishes what it had begun before it ends
        verdict = rig.finish(run)
        rig.stop_service("mailer")
        return _line(f"mailer frozen beyond its lease at {step}, then woken", policy, 1, run, verdict, took_s)

    return incident


def restarts_meanwhile(rig: Rig, leads: int, policy: str) -> tuple[Line, int, list[int]]:
    """The server refuses every mail's content with 451, and workers are killed again and again meanwhile.

    Returns the line, how many contents the server got, and the attempts that the ledger counted per mail.
    """
    rig.stop_service("mailer")
    rig.ensure("fanout")
    never = {"phase": "body", "code": 451, "text": "4.3.0 try again later", "store": True, "times": None}
    rig.inbox.post("/script", {"faults": [never]})
    run = rig.append(leads)
    env = {"LEADSTREAM_ON_UNKNOWN": policy, "LEADSTREAM_RETRIES": "3"}
    killed: FaultyProcess = rig.make(
        "mailer", "mailer", FAULT_STEP="after_commit", FAULT_AFTER=str(max(2, leads // 3)), **env
    )
    began = time.monotonic()
    killed.start()
    verdict = rig.finish(run, 60 + leads / 10)
    took_s = time.monotonic() - began
    kills = killed.kills()
    rig.stop_service("mailer")
    rig.inbox.post("/script", {"faults": []})
    copies = rig.inbox.copies()
    # The inbox keeps what it refused, to count tries: a copy too many is here a try beyond the fourth.
    too_many = frozenset(mail for mail in run.mails if copies[mail] > 4)
    verdict = replace(verdict, doubled=too_many)
    attempts = [row.attempts for row in rig.rows(run).values()]
    line = _line("every content refused with 451, mailer killed meanwhile", policy, kills, run, verdict, took_s)
    return line, max(copies[mail] for mail in run.mails), attempts
