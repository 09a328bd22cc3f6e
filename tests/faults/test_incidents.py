"""Faults of the SMTP server, of Redis and of frozen workers, on a small scale; `make faults` runs them at full size."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults import incidents
from tests.faults.incidents import PHASES, cut, during, frozen
from tests.faults.rig import Rig
from tests.faults.table import Line

LEADS = 30
POLICIES = ("resend", "hold")
Incident = Callable[[Rig, int, str], Line]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A server that answers only what is on its disk."""
    with Rig(tmp_path_factory.mktemp("incidents"), appendfsync="always") as made:
        yield made


@pytest.mark.parametrize("policy", POLICIES)
def test_a_lost_250_is_unknown_and_doubles_a_mail_only_with_resend(rig: Rig, policy: str) -> None:
    line = incidents.answer_lost(rig, LEADS, policy)
    assert line.kept, line
    assert line.marked == line.times, line
    assert line.duplicated == (line.times if policy == "resend" else 0), line


@pytest.mark.parametrize("phase", PHASES)
def test_a_connection_cut_at_any_phase_loses_and_doubles_nothing(rig: Rig, phase: str) -> None:
    line = cut(phase)(rig, LEADS, "resend")
    assert line.kept, line
    assert line.duplicated == 0, line
    assert line.marked == (line.times if phase == "body" else 0), line


def test_a_greylisted_mail_goes_out_once_and_later(rig: Rig) -> None:
    line = incidents.greylisted(rig, LEADS, "resend")
    assert line.kept, line
    assert (line.duplicated, line.marked) == (0, 0), line


def test_a_slow_answer_to_data_keeps_its_lease(rig: Rig) -> None:
    line = incidents.slow_data(rig, LEADS, "resend", lease_s=3.0)
    assert line.kept, line
    assert (line.duplicated, line.marked) == (0, 0), line


@pytest.mark.slow
def test_mails_in_flight_of_a_killed_worker_are_finished_by_others_once_its_lease_is_over(rig: Rig) -> None:
    line = incidents.killed_in_flight(rig, LEADS, "resend")
    assert line.kept, line
    assert line.recovery_s < 30.0, line  # usually 2: `make faults` prints it


@pytest.mark.parametrize("policy", POLICIES)
def test_redis_killed_and_restarted_loses_and_doubles_nothing(rig: Rig, policy: str) -> None:
    line = during("redis", incidents.redis_killed, 2)(rig, LEADS, policy)
    assert line.kept, line
    assert line.duplicated == 0, line


def test_flushed_scripts_are_loaded_again_unnoticed(rig: Rig) -> None:
    line = during("scripts", incidents.scripts_flushed, 2)(rig, LEADS, "resend")
    assert line.kept, line
    assert (line.duplicated, line.marked) == (0, 0), line


@pytest.mark.parametrize("step", ["rcpt", "before_data", "after_data"])
def test_a_worker_that_wakes_up_after_its_lease_sends_no_unmarked_copy(rig: Rig, step: str) -> None:
    line = frozen(step)(rig, LEADS, "resend")
    assert line.kept, line


@pytest.mark.parametrize("step", ["before_data", "after_data"])
def test_with_hold_a_worker_that_wakes_up_doubles_nothing(rig: Rig, step: str) -> None:
    line = frozen(step)(rig, LEADS, "hold")
    assert line.kept, line
    assert line.marked, "the mail in doubt must be listed for a person"


@pytest.mark.slow
def test_three_retries_are_four_attempts_however_often_workers_restart(rig: Rig) -> None:
    line, tries, attempts = incidents.restarts_meanwhile(rig, LEADS, "resend")
    assert line.times >= 3, "the workers were not killed often enough"
    assert tries <= 4
    assert max(attempts) == 4
    assert line.lost == 0, line
