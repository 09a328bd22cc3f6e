"""Places and slow-downs are those of all mailers together, end with them, and cost no processor time."""

from __future__ import annotations

import time
from pathlib import Path

from leadstream_events import keys
from leadstream_events.slow_down import FIRST
from tests.faults.faulty_process import FaultyProcess
from tests.faults.rate import Cpu
from tests.faults.rig import Rig
from tests.support.waiting import eventually_sync

PLACES = keys.PLACES + "example.com"
_WATCHED_S = 4.0


def mailer(rig: Rig, name: str, **env: str) -> FaultyProcess:
    """A mailer that runs."""
    made = rig.make(name, "mailer", **env).start()
    assert isinstance(made, FaultyProcess)
    return made


def test_the_places_of_a_killed_mailer_come_free_and_nobody_gets_more_meanwhile(tmp_path: Path) -> None:
    limit = "example.com=2"
    with Rig(
        tmp_path, LEADSTREAM_CONCURRENCY_DOMAINS=limit, LEADSTREAM_LEASE="3s", LEADSTREAM_SMTP_TIMEOUT="150s"
    ) as rig:
        rig.ensure("fanout")
        # The server takes long over what the first mailer sends: it holds both places when it dies.
        rig.inbox.post(
            "/script", {"faults": [{"phase": "rcpt", "code": 250, "text": "2.1.5 ok", "delay_s": 120, "times": 2}]}
        )
        first = mailer(rig, "mailer0")
        run = rig.append(6)
        eventually_sync(lambda: rig.client.zcard(PLACES) == 2, "both places to be taken")
        second = mailer(rig, "mailer1")
        held = rig.client.zrange(PLACES, 0, -1)
        until = time.monotonic() + 7.5  # more than two leases: a place that is in use is renewed
        eventually_sync(lambda: time.monotonic() > until, "two leases to pass")
        assert set(rig.client.zrange(PLACES, 0, -1)) == set(held)
        assert rig.inbox.copies() == {}
        first.kill()
        del rig.processes["mailer0"]
        verdict = rig.finish(run)
        assert not verdict.lost
        assert not verdict.doubled
        eventually_sync(lambda: rig.client.zcard(PLACES) == 0, "every place to be returned")
        assert second.alive()


def test_one_mailers_slow_down_holds_for_all_and_waiting_costs_no_processor_time(tmp_path: Path) -> None:
    with Rig(tmp_path, LEADSTREAM_RETRY_DELAYS="1h") as rig:
        rig.ensure("fanout")
        rig.inbox.post(
            "/script", {"faults": [{"phase": "rcpt", "code": 421, "text": "4.7.28 unusual rate", "times": 1}]}
        )
        mailers = [mailer(rig, f"mailer{number}") for number in range(3)]
        rig.append(1)
        eventually_sync(lambda: rig.client.hexists(keys.SLOW, "example.com"), "the domain to be slowed down")
        began = time.monotonic()
        rig.append(200)
        eventually_sync(lambda: rig.client.zcard(keys.due(0, keys.MAILER)) > 150, "the mails to wait")
        used = [Cpu(each) for each in mailers]
        eventually_sync(lambda: time.monotonic() > began + _WATCHED_S + 3, "some seconds to pass")
        shares = [each.share() for each in used]
        passed_s = time.monotonic() - began
        arrived = sum(rig.inbox.copies().values())
        # Workers look once a second: what they begin in the first is not held back yet.
        assert arrived <= 30, f"{arrived} mails in {passed_s:.0f} s at {FIRST:.0f} a minute"
        print(f"arrived {arrived} in {passed_s:.1f} s, CPU of a mailer {max(shares):.1%}")
        assert all(share < 0.1 for share in shares), shares
