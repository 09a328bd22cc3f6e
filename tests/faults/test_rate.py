"""The limit holds over all mailers together, while they are killed and started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadstream_events import keys
from leadstream_events.limits import Rate
from leadstream_mailer.limiter import GLOBAL
from tests.faults.rate import fullest, measure, share_used
from tests.faults.rig import Rig
from tests.support.waiting import eventually_sync

CONNECTIONS = 2


def test_the_fullest_window_slides_over_every_arrival() -> None:
    assert fullest([0.0, 0.9, 1.0, 1.1, 1.8], 1.0) == 4
    assert fullest([], 1.0) == 0


def test_the_used_share_leaves_the_first_window_out() -> None:
    assert share_used([0.0] * 10 + [1.0] * 10, Rate(10, 1000)) == 1.0


@pytest.mark.slow
def test_four_mailers_together_keep_a_limit_while_one_after_the_other_is_killed(tmp_path: Path) -> None:
    with Rig(tmp_path, LEADSTREAM_SMTP_CONNECTIONS=str(CONNECTIONS)) as rig:
        found = measure(rig, mailers=4, limit=Rate(20, 1000), seconds=6.0, kill_every_s=2.0)
    # Starts never pass the limit. An arrival may lag behind its start by more than the grace of 50 ms when the machine
    # is busy, so as many arrivals as there can be mails under way may slide into a window.
    assert found.most <= 20 + 4 * CONNECTIONS, found
    assert found.used > 0.2, found  # a token is good for 50 ms, and lost when its mail is not begun by then


def test_no_token_is_granted_beyond_the_limit_whoever_is_restarted(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        rig.ensure("fanout")
        mailers = [rig.make(f"mailer{number}", "mailer", LEADSTREAM_RATE_LIMIT="10/h") for number in range(2)]
        for mailer in mailers:
            mailer.start()
        run = rig.append(30)
        window = keys.LIMITS + GLOBAL
        eventually_sync(lambda: rig.client.zcard(window) == 10, "ten tokens to be taken")
        eventually_sync(lambda: rig.inbox.copies(), "mails to arrive")
        before = set(rig.pending(keys.EMAILS, keys.MAILER).values())
        assert before
        for mailer in mailers:
            mailer.restart()

        def claimed() -> bool:
            return not before & set(rig.pending(keys.EMAILS, keys.MAILER).values())

        eventually_sync(claimed, "the restarted mailers to claim what was left behind")
        assert rig.client.zcard(window) == 10
        # A token whose mail was not begun within a second is lost, which errs on the safe side.
        copies = rig.inbox.copies()
        assert copies.keys() <= run.mails.keys()
        assert 0 < sum(copies.values()) <= 10
