"""SIGTERM: what was begun is finished, what was not is another worker's at once, and the exit code is 0."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadstream_events import keys
from tests.faults.rig import Rig
from tests.support.ports import free_port
from tests.support.waiting import eventually_sync

SERVICES = ("fanout", "mailer", "projections")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A lease of minutes: whatever waited for one would be far too late."""
    with Rig(tmp_path, LEADSTREAM_LEASE="200s", LEADSTREAM_SMTP_CONNECTIONS="4") as made:
        yield made


@pytest.mark.slow
def test_begun_mails_are_finished_and_the_rest_goes_to_another_worker_without_a_lease(rig: Rig) -> None:
    rig.ensure("fanout")
    rig.inbox.post("/script", {"faults": [{"phase": "body", "code": 250, "delay_s": 8.0, "times": 4}]})
    # With a limit a worker begins no more mails than it has connections; this one never bites.
    env = {"LEADSTREAM_RATE_LIMIT": "1000/s", "LEADSTREAM_DRAIN_DEADLINE": "40s"}
    leaving = rig.make("leaving", "mailer", **env).start()
    run = rig.append(8)
    eventually_sync(lambda: len(rig.inbox.copies()) == 4, "four mails to wait for their answer")
    eventually_sync(lambda: len(rig.pending(keys.EMAILS, keys.MAILER)) == 8, "the worker to hold every mail")
    # Asked at once, before the first answer comes: with a free connection it would rightly begin another mail.
    os.kill(leaving.pid, signal.SIGTERM)
    began = time.monotonic()
    rig.make("staying", "mailer").start()
    assert leaving.wait(within_s=50.0) == 0
    del rig.processes["leaving"]
    verdict = rig.finish(run, within_s=50.0)
    assert time.monotonic() - began < 60.0, "it waited for the lease"
    assert not verdict.lost
    assert not verdict.doubled
    assert not verdict.marked
    by_leaving = [mail for mail in rig.inbox.get("/messages") if mail["connection"] <= 4]
    assert len(by_leaving) == 4, "the worker that left sent what it had begun, and no more"


def test_a_mail_that_hangs_does_not_keep_a_worker_beyond_its_drain_deadline(rig: Rig) -> None:
    rig.ensure("fanout")
    rig.inbox.post("/script", {"faults": [{"phase": "rcpt", "code": 250, "delay_s": 600.0, "times": 4}]})
    env = {"LEADSTREAM_DRAIN_DEADLINE": "1s", "LEADSTREAM_LEASE": "2s"}
    stuck = rig.make("stuck", "mailer", **env).start()
    run = rig.append(12)
    eventually_sync(lambda: rig.inbox.get("/stats")["connections"] == 4, "four connections")
    eventually_sync(lambda: len(rig.pending(keys.EMAILS, keys.MAILER)) == 12, "the worker to hold every mail")
    began = time.monotonic()
    assert stuck.terminate(within_s=30.0) == 0
    assert time.monotonic() - began < 9.0, "the default deadline is ten seconds"
    assert "drain deadline passed" in stuck.text()
    del rig.processes["stuck"]
    rig.make("mailer", "mailer", **env).start()
    verdict = rig.finish(run)
    assert not verdict.lost
    assert not verdict.doubled


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_waits_for_redis_obeys_sigterm(tmp_path: Path, service: str) -> None:
    with Rig(tmp_path, LEADSTREAM_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0") as rig:
        waiting = rig.make(service, service, FAULT_STEP="read", FAULT_AFTER="1", FAULT_KILLS="0").start()
        eventually_sync(lambda: "waiting for redis" in waiting.text(), "the service to wait for Redis")
        assert waiting.terminate(within_s=9.0) == 0, "less than the drain deadline"
